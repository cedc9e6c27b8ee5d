/* pool.c: means over all pixels and over windows, and the greatest of all pixels. One task is one block of channels.
 *
 * global_avg_pool: y[c] = sum_{h,w} x[h][w][c] / (h w). Each row is summed first and then the rows, so that the
 * rounding error grows with h + w and not with h w.
 * global_max_pool: y[c] = max_{h,w} x[h][w][c], NaN if one of them is.
 * avg_pool: the mean of the window's pixels that lie inside the input (padding does not count).
 */

/* Rows that are summed at once: one chain of additions would wait for each to end before it begins the next. Seven divide the
 * planes of pictures of 224 pixels. */
#define MN_POOL_ROWS 7
#define MN_POOL_CASE(N, ROWS) case N: total = mn_add_rows(N, total, ROWS, in->w); break;

/* Adds up `count` neighbouring rows of `width` pixels, one vector of channels; count is a constant. */
MN_INLINE vf mn_add_rows(const int count, vf total, const float *x, ptrdiff_t width)
{
    vf row[MN_POOL_ROWS];
    MN_UNROLL for (int r = 0; r < count; r++) row[r] = mn_set(0.0f);
    for (ptrdiff_t w = 0; w < width; w++)
        MN_UNROLL for (int r = 0; r < count; r++) row[r] = mn_add(row[r], mn_load(x + (r * width + w) * MN_BLOCK));
    MN_UNROLL for (int r = 0; r < count; r++) total = mn_add(total, row[r]);
    return total;
}

/* The mean of one block. Rows are dealt out evenly. */
static void mn_mean_block(const float *x, const mn_extent *in, float *y)
{
    const ptrdiff_t groups = mn_ceil_div(in->h, MN_POOL_ROWS), least = in->h / groups, more = in->h % groups;
    for (int i = 0; i < MN_BLOCK; i += MN_WIDTH) {
        const float *rows = x + i;
        vf total = mn_set(0.0f);
        for (ptrdiff_t g = 0; g < groups; g++) {
            const ptrdiff_t count = least + (g < more);
            switch (count) { MN_TO_7(MN_POOL_CASE, rows) default: break; }
            rows += count * in->w * MN_BLOCK;
        }
        mn_store(y + i, mn_div(total, mn_set((float)(in->h * in->w))));
    }
}

static void mn_global_avg_pool_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    mn_mean_block(v->x[0] + task * mn_plane(&s->in[0]), &s->in[0], v->y + task * MN_BLOCK);
}

/* mn_max drops one of its operands' NaNs, so a second sum notices them: every pixel, clamped to 0..1, is a finite
 * number unless it is NaN, and 0 times their sum changes no maximum. */
static void mn_global_max_pool_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const ptrdiff_t pixels = s->in[0].h * s->in[0].w;
    const vf zero = mn_set(0.0f), one = mn_set(1.0f);
    for (int i = 0; i < MN_BLOCK; i += MN_WIDTH) {     /* lanes outside: the maximum stays in a register */
        const float *x = v->x[0] + task * mn_plane(&s->in[0]) + i;
        vf greatest = mn_load(x), clamped = zero;
        for (ptrdiff_t p = 0; p < pixels; p++) {
            const vf pixel = mn_load(x + p * MN_BLOCK);
            greatest = mn_max(greatest, pixel);
            clamped = mn_add(clamped, mn_max(zero, mn_min(one, pixel)));
        }
        mn_store(v->y + task * MN_BLOCK + i, mn_add(greatest, mn_mul(clamped, zero)));
    }
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
