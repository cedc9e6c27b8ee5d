/* pool.c: means over all pixels, and over windows. One task is one block of channels.
 *
 * global_avg_pool: y[c] = sum_{h,w} x[h][w][c] / (h w). Each row is summed first and then the rows, so that the
 * rounding error grows with h + w and not with h w.
 * avg_pool: the mean of the window's pixels that lie inside the input (padding does not count).
 */

/* The mean of one block. */
MN_INLINE void mn_mean_block(const float *x, const mn_extent *in, float *y)
{
    for (int i = 0; i < MN_BLOCK; i += MN_WIDTH) {
        vf total = mn_set(0.0f);
        for (ptrdiff_t h = 0; h < in->h; h++) {
            vf row = mn_set(0.0f);
            for (ptrdiff_t w = 0; w < in->w; w++) row = mn_add(row, mn_load(x + (h * in->w + w) * MN_BLOCK + i));
            total = mn_add(total, row);
        }
        mn_store(y + i, mn_div(total, mn_set((float)(in->h * in->w))));
    }
}

static void mn_global_avg_pool_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    mn_mean_block(v->x[0] + task * mn_plane(&s->in[0]), &s->in[0], v->y + task * MN_BLOCK);
}

static void mn_avg_pool_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const float *x = v->x[0] + task * mn_plane(&s->in[0]);
    float *y = v->y + task * mn_plane(&s->out);
    for (ptrdiff_t oy = 0; oy < s->out.h; oy++) {
        const ptrdiff_t y0 = mn_most(oy * s->sh - s->pt, 0), y1 = mn_least(oy * s->sh - s->pt + s->kh, s->in[0].h);
        for (ptrdiff_t ox = 0; ox < s->out.w; ox++) {
            const ptrdiff_t x0 = mn_most(ox * s->sw - s->pl, 0), x1 = mn_least(ox * s->sw - s->pl + s->kw, s->in[0].w);
            const vf pixels = mn_set((float)((y1 - y0) * (x1 - x0)));
            for (int i = 0; i < MN_BLOCK; i += MN_WIDTH) {
                vf total = mn_set(0.0f);
                for (ptrdiff_t h = y0; h < y1; h++)
                    for (ptrdiff_t w = x0; w < x1; w++)
                        total = mn_add(total, mn_load(x + (h * s->in[0].w + w) * MN_BLOCK + i));
                mn_store(y + (oy * s->out.w + ox) * MN_BLOCK + i, mn_div(total, pixels));
            }
        }
    }
}
