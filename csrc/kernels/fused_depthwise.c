/* fused_depthwise.c: a convolution, and the depthwise convolution of its result, in one pass.
 *
 *   expand_depthwise: after a 1x1 convolution, the first two thirds of an inverted residual
 *   conv_depthwise:   after the network's first convolution
 *
 * The tensor between the two is the largest around and is read once. Here it is never written: one block of its
 * channels is computed row by row straight into the ring that the window reads, and stays in L1. s->first is the first
 * convolution as a step of its own, with its constants and activation; s itself is the depthwise one, as depthwise.c
 * has it. workspace: a ring. One task is one block.
 */

static void mn_expand_row(const mn_step *s, const mn_views *v, ptrdiff_t b, ptrdiff_t iy, float *slot)
{
    const mn_step *f = s->first;
    const ptrdiff_t w = f->in[0].w, c = b * MN_BLOCK;
    const mn_product p = {f->in[0].c, mn_plane(&f->in[0]), 0, f->activation, NULL, NULL};
    mn_multiply_panels(&p, w, 0, MN_BLOCK / MN_WIDTH, v->x[0] + iy * w * MN_BLOCK, f->constant[0] + c * p.k,
                       f->constant[1] + c, slot);
    mn_finish(slot, w * MN_BLOCK, f->activation);
}

static void mn_conv_row_of_block(const mn_step *s, const mn_views *v, ptrdiff_t b, ptrdiff_t iy, float *slot)
{
    const mn_step *f = s->first;
    const ptrdiff_t last = mn_ceil_div(f->out.c, MN_WIDTH);
    for (ptrdiff_t i = 0; i < MN_BLOCK / MN_WIDTH; i++) {
        float *const lanes[] = {slot + i * MN_WIDTH};
        const ptrdiff_t n = b * (MN_BLOCK / MN_WIDTH) + i;
        if (n < last) mn_conv_panels(f, v->x[0], iy, 0, n, 1, lanes, MN_BLOCK);
    }
    mn_finish(slot, f->out.w * MN_BLOCK, f->activation);
}

static void mn_expand_depthwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    mn_window_block(s, v, task, mn_expand_row);
}

static void mn_conv_depthwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    mn_window_block(s, v, task, mn_conv_row_of_block);
}
