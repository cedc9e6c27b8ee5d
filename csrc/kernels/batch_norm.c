/* batch_norm.c: y = f((x - mean[c]) * scale[c] + bias[c]), scale = gamma / sqrt(var + eps).
 *
 * constant: 0 mean, 1 scale, 2 bias, filled up to whole blocks. The mean is subtracted first: x - mean
 * is exact or nearly so where the two are close, which x * scale + shift is not. One task: one block.
 */

static void mn_batch_norm_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const float *x = v->x[0] + task * mn_plane(&s->out);
    float *y = v->y + task * mn_plane(&s->out);
    for (int i = 0; i < MN_BLOCK; i += MN_WIDTH) {
        const ptrdiff_t c = task * MN_BLOCK + i;
        const vf mean = mn_load(s->constant[0] + c), scale = mn_load(s->constant[1] + c), bias = mn_load(s->constant[2] + c);
        for (ptrdiff_t p = i; p < mn_plane(&s->out); p += MN_BLOCK)
            mn_store(y + p, mn_activate(s->activation, mn_fma(mn_sub(mn_load(x + p), mean), scale, bias)));
    }
}
