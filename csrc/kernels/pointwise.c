/* pointwise.c: 1x1 convolution; also the linear layer, which is one pixel.
 *
 *   y[m][n] = f(bias[n] + sum_k x[m][k] w[k][n])   or   bias[n] + sum_k x[m][k] w[k][n] + residual[m][n]
 *
 * constant: 0 weights in panels [n / WIDTH][k][WIDTH], zero filled, and for one pixel interleaved (tile.c); 1 bias, filled
 * likewise.
 * The second input, if there is one, is the residual; then there is no activation.
 *
 * Tasks are runs of pixels x runs of whole blocks of output channels: enough pixels to use a panel well, and where
 * there are few pixels, as many blocks as make some 2^17 multiply-adds; a linear layer, which waits for its weights,
 * has smaller ones, of whole sets of interleaved panels. Tasks of the same pixels are done together, since a tile likes
 * to have several panels, and so are neighbouring runs, since the second one finds the panels in the cache.
 */
#define MN_RUN_PIXELS 56
#define MN_RUNS_TOGETHER 2

static ptrdiff_t mn_runs(const mn_step *s) { return mn_ceil_div(s->out.h * s->out.w, MN_RUN_PIXELS); }

/* Where run i begins: as far as possible after whole tiles. */
MN_INLINE ptrdiff_t mn_run_start(const mn_step *s, ptrdiff_t i)
{
    const ptrdiff_t pixels = s->out.h * s->out.w, runs = mn_runs(s), start = i * pixels / runs;
    return i < runs ? start - start % MN_ROWS : pixels;
}

MN_INLINE ptrdiff_t mn_blocks_per_task(const mn_step *s)
{
    const ptrdiff_t rows = mn_least(s->out.h * s->out.w, MN_RUN_PIXELS), set = mn_ceil_div(MN_SINGLE_PANELS * MN_WIDTH, MN_BLOCK);
    if (rows == 1) return set * mn_ceil_div(1 << 16, s->in[0].c * set * MN_BLOCK);
    return mn_ceil_div(1 << 17, rows * s->in[0].c * MN_BLOCK);
}

static ptrdiff_t mn_pointwise_tasks(const mn_step *s)
{
    return mn_runs(s) * mn_ceil_div(mn_blocks(s->out.c), mn_blocks_per_task(s));
}

/* `rows` pixels from `row` on, output channels c to end - 1; the first pixel's x, and floats from one block of it to the next. */
static void mn_pointwise_part(const mn_step *s, const mn_views *v, const float *x, ptrdiff_t xblock, ptrdiff_t row, ptrdiff_t rows,
                              ptrdiff_t c, ptrdiff_t end)
{
    const ptrdiff_t pixels = s->out.h * s->out.w;
    const mn_product p = {
        s->in[0].c, xblock, mn_plane(&s->out), s->activation, mn_clamp_of(s->activation), v->x[1], v->y, NULL, row,
        mn_rate(pixels),
    };
    float *y = v->y + row * MN_BLOCK;
    const float *w = s->constant[0] + c * p.k, *bias = s->constant[1] + c;
    if (pixels == 1) mn_multiply_single(&p, c, mn_ceil_div(end - c, MN_WIDTH), x, w, bias, y);
    else mn_multiply_panels(&p, rows, c, end - c, x, w, bias, y);
    for (ptrdiff_t b = c; b < end; b += MN_BLOCK) mn_finish(mn_lanes(y, p.yblock, b), rows * MN_BLOCK, s->activation);
}

/* All output channels of `rows` pixels, for a kernel that has just computed their x (see turns.c). */
static void mn_pointwise_rows(const mn_step *s, const mn_views *v, const float *x, ptrdiff_t xblock, ptrdiff_t row, ptrdiff_t rows)
{
    mn_pointwise_part(s, v, x, xblock, row, rows, 0, s->out.c);
}

static void mn_pointwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t per_task = mn_blocks_per_task(s), groups = mn_ceil_div(mn_blocks(s->out.c), per_task);
    while (first < last) {
        const ptrdiff_t run = first / groups, group = first % groups, whole = group == 0 ? (last - first) / groups : 0;
        const ptrdiff_t runs = mn_most(1, mn_least(whole, MN_RUNS_TOGETHER));
        const ptrdiff_t together = whole > 0 ? groups : mn_least(last - first, groups - group);
        const ptrdiff_t row = mn_run_start(s, run), end = mn_least(s->out.c, (group + together) * per_task * MN_BLOCK);
        mn_pointwise_part(s, v, v->x[0] + row * MN_BLOCK, mn_plane(&s->in[0]), row, mn_run_start(s, run + runs) - row,
                          group * per_task * MN_BLOCK, end);
        first += runs * together;
    }
}
