/* layout.c: planar (c, h, w) to blocked (c / BLOCK, h, w, BLOCK) and back.
 *
 * to_blocked fills the last block up with zeros. One task is one block. Flattening a blocked tensor is to_planar: the
 * vector that comes out is blocked too, since blocks of a vector follow one another without a gap.
 */

static ptrdiff_t mn_in_block_tasks(const mn_step *s) { return mn_blocks(s->in[0].c); }

static void mn_to_blocked_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const ptrdiff_t pixels = s->in[0].h * s->in[0].w, channels = mn_least(MN_BLOCK, s->in[0].c - task * MN_BLOCK);
    const float *x = v->x[0] + task * MN_BLOCK * pixels;
    float *y = v->y + task * MN_BLOCK * pixels;
    for (ptrdiff_t p = 0; p < pixels; p++)
        for (ptrdiff_t k = 0; k < MN_BLOCK; k++) y[p * MN_BLOCK + k] = k < channels ? x[k * pixels + p] : 0.0f;
}

static void mn_to_planar_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const ptrdiff_t pixels = s->in[0].h * s->in[0].w, channels = mn_least(MN_BLOCK, s->in[0].c - task * MN_BLOCK);
    const float *x = v->x[0] + task * MN_BLOCK * pixels;
    float *y = v->y + task * MN_BLOCK * pixels;
    if (pixels == 1) memcpy(y, x, (size_t)channels * sizeof(float));         /* a vector looks the same either way */
    else
        for (ptrdiff_t k = 0; k < channels; k++)
            for (ptrdiff_t p = 0; p < pixels; p++) y[k * pixels + p] = x[p * MN_BLOCK + k];
}
