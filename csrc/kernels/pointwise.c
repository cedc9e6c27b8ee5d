/* pointwise.c: 1x1 convolution; also the linear layer, which is one pixel.
 *
 *   y[m][n] = f(bias[n] + sum_k x[m][k] w[k][n])   or   bias[n] + sum_k x[m][k] w[k][n] + residual[m][n]
 *
 * constant: 0 weights in panels [n / WIDTH][k][WIDTH], zero filled; 1 bias, filled likewise.
 * The second input, if there is one, is the residual; then there is no activation.
 *
 * Tasks are runs of pixels x runs of whole blocks of output channels: enough pixels to use a panel well, and where
 * there are few pixels, as many blocks as make some 2^18 multiply-adds; a linear layer, which waits for its weights,
 * has smaller ones.
 */
#define MN_TASK_ROWS (16 * MN_ROWS)

MN_INLINE ptrdiff_t mn_blocks_per_task(const mn_step *s)
{
    const ptrdiff_t rows = mn_least(s->out.h * s->out.w, MN_TASK_ROWS);
    return mn_ceil_div(rows == 1 ? 1 << 16 : 1 << 18, rows * s->in[0].c * MN_BLOCK);
}

static ptrdiff_t mn_pointwise_tasks(const mn_step *s)
{
    return mn_ceil_div(s->out.h * s->out.w, MN_TASK_ROWS) * mn_ceil_div(mn_blocks(s->out.c), mn_blocks_per_task(s));
}

static void mn_pointwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const ptrdiff_t pixels = s->out.h * s->out.w, per_task = mn_blocks_per_task(s);
    const ptrdiff_t groups = mn_ceil_div(mn_blocks(s->out.c), per_task);
    const ptrdiff_t row = task / groups * MN_TASK_ROWS, c = task % groups * per_task * MN_BLOCK;
    const ptrdiff_t rows = mn_least(MN_TASK_ROWS, pixels - row), channels = mn_least(per_task * MN_BLOCK, s->out.c - c);
    const mn_product p = {s->in[0].c, mn_plane(&s->in[0]), mn_plane(&s->out), s->activation, v->x[1], v->y};
    float *y = v->y + row * MN_BLOCK;
    const float *x = v->x[0] + row * MN_BLOCK, *w = s->constant[0] + c * p.k, *bias = s->constant[1] + c;
    if (pixels == 1) mn_multiply_single(&p, c, mn_ceil_div(channels, MN_WIDTH), x, w, bias, y);
    else mn_multiply_panels(&p, rows, c, mn_ceil_div(channels, MN_WIDTH), x, w, bias, y);
    for (ptrdiff_t b = c; b < c + channels; b += MN_BLOCK) mn_finish(mn_lanes(y, p.yblock, b), rows * MN_BLOCK, s->activation);
}
