/* fused_depthwise.c: a convolution, and the depthwise convolution of its result, in one pass.
 *
 *   expand_depthwise: after a 1x1 convolution, the first two thirds of an inverted residual
 *   conv_depthwise:   after the network's first convolution
 *
 * The tensor between the two is the largest around and is read once. Here it is never written: one block of its
 * channels is computed row by row straight into the ring that the window reads, and stays in L1. s->first is the first
 * convolution as a step of its own, with its constants and activation; s itself is the depthwise one, as depthwise.c
 * has it; where the last block goes to registers of half its width, the panels of s->first there have that width too.
 * workspace: a ring. One task is one block.
 */

/* `pixels` of block b of the expansion, from the given one on. */
MN_INLINE void mn_expand(const mn_step *s, const mn_views *v, ptrdiff_t b, ptrdiff_t pixel, ptrdiff_t pixels, float *y)
{
    const mn_step *f = s->first;
    const mn_product p = {f->in[0].c, mn_plane(&f->in[0]), 0, f->activation, NULL, NULL};
    const ptrdiff_t c = b * MN_BLOCK;
    mn_multiply_panels(&p, pixels, 0, mn_panels_of_block(&f->out, b), v->x[0] + pixel * MN_BLOCK,
                       f->constant[0] + c * p.k, f->constant[1] + c, y);
    mn_finish(y, pixels * MN_BLOCK, f->activation);
}

static void mn_expand_row(const mn_step *s, const mn_views *v, ptrdiff_t b, ptrdiff_t iy, float *slot)
{
    const ptrdiff_t w = s->in[0].w;
    mn_expand(s, v, b, iy * w, w, slot);
}

static void mn_conv_row_of_block(const mn_step *s, const mn_views *v, ptrdiff_t b, ptrdiff_t iy, float *slot)
{
    const mn_step *f = s->first;
    const ptrdiff_t panels = mn_panels_of_block(&f->out, b);
    for (ptrdiff_t n = 0; n < panels; n += MN_CONV_PANELS) {
        float *const lanes[] = {slot + n * MN_WIDTH, slot + (n + 1) * MN_WIDTH};
        mn_conv_panels(f, v->x[0], iy, 0, b * (MN_BLOCK / MN_WIDTH) + n, mn_least(panels - n, MN_CONV_PANELS), lanes, MN_BLOCK);
    }
    mn_finish(slot, f->out.w * MN_BLOCK, f->activation);
}

/* A row that is no whole number of tiles (14 pixels are 5 + 5 + 4 where a tile has 6) keeps the FMA units waiting. Where
 * a block's plane is small enough for L1, all its pixels are expanded at once, into what follows the ring, and taken
 * from there row by row. */
#define MN_SMALL_PLANE 4096         /* floats; ops/fused_depthwise.py reserves as much */

MN_INLINE int mn_expands_whole(const mn_step *s)
{
    return s->in[0].w % MN_ROWS != 0 && mn_plane(&s->in[0]) <= MN_SMALL_PLANE;
}

MN_INLINE float *mn_expanded(const mn_step *s, const mn_views *v) { return v->workspace + mn_ring_floats(s); }

static void mn_take_row(const mn_step *s, const mn_views *v, ptrdiff_t b, ptrdiff_t iy, float *slot)
{
    const ptrdiff_t row = s->in[0].w * MN_BLOCK;
    (void)b;
    mn_copy(mn_expanded(s, v) + iy * row, row, slot);
}

static void mn_expand_depthwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    MN_GO_HALF(s, v, task)
    if (!mn_expands_whole(s)) {
        mn_window_block(s, v, task, mn_expand_row);
        return;
    }
    mn_expand(s, v, task, 0, s->in[0].h * s->in[0].w, mn_expanded(s, v));
    mn_window_block(s, v, task, mn_take_row);
}

static void mn_conv_depthwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    MN_GO_HALF(s, v, task)
    mn_window_block(s, v, task, mn_conv_row_of_block);
}
