/* softmax.c: y[p][c] = exp(x[p][c] - max) / sum exp(x[p][.] - max), pixel by pixel. One task is one pixel.
 *
 * The sum is kept in double: a thousand classes would otherwise cost three digits.
 */

static ptrdiff_t mn_pixel_tasks(const mn_step *s) { return s->out.h * s->out.w; }

static void mn_softmax_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const ptrdiff_t block = mn_plane(&s->out);
    const float *x = v->x[0] + task * MN_BLOCK;
    float *y = v->y + task * MN_BLOCK, most = x[0];
    double sum = 0.0;
    for (ptrdiff_t c = 1; c < s->out.c; c++) {
        const float value = x[c / MN_BLOCK * block + c % MN_BLOCK];
        if (!(value <= most)) most = value;
    }
    for (ptrdiff_t c = 0; c < s->out.c; c++) sum += *mn_lanes(y, block, c) = expf(x[c / MN_BLOCK * block + c % MN_BLOCK] - most);
    for (ptrdiff_t c = 0; c < s->out.c; c++) *mn_lanes(y, block, c) = (float)(*mn_lanes(y, block, c) / sum);
}
