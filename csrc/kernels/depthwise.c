/* depthwise.c: each channel filtered by its own small window (see window.c). Any window, stride, dilation,
 * padding. constant: 0 weights [block][kh kw][BLOCK], 1 bias. workspace: a ring. One task is one block. */

MN_INLINE void mn_copy(const float *x, ptrdiff_t floats, float *y)
{
    for (ptrdiff_t i = 0; i < floats; i += MN_WIDTH) {
        vf pixels = mn_load(x + i);
        mn_opaque(pixels);                      /* or a compiler calls memcpy, which is slower for a row in L1 */
        mn_store(y + i, pixels);
    }
}

static void mn_copy_row(const mn_step *s, const mn_views *v, ptrdiff_t b, ptrdiff_t iy, float *slot)
{
    const ptrdiff_t row = s->in[0].w * MN_BLOCK;
    mn_copy(v->x[0] + b * mn_plane(&s->in[0]) + iy * row, row, slot);
}

static void mn_depthwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    MN_GO_HALF(s, v, task)
    mn_window_block(s, v, task, mn_copy_row);
}
