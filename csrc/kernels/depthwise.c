/* depthwise.c: each channel filtered by its own small window (see window.c). Any window, stride, dilation,
 * padding. constant: 0 weights [block][kh kw][BLOCK], 1 bias. workspace: a ring. */

MN_INLINE void mn_copy(const float *x, ptrdiff_t floats, float *y)
{
    for (ptrdiff_t i = 0; i < floats; i += MN_WIDTH) {
        vf pixels = mn_load(x + i);
        mn_opaque(pixels);                      /* or a compiler calls memcpy, which is slower for a row in L1 */
        mn_store(y + i, pixels);
    }
}

static void mn_copy_rows(const mn_step *s, const mn_views *v, const mn_part *part, ptrdiff_t iy, ptrdiff_t rows, float *slot,
                         ptrdiff_t apart)
{
    const ptrdiff_t row = s->in[0].w * MN_BLOCK, length = mn_ring_length(s);
    const float *x = part->x + part->block * part->xplane + (iy - part->xrow) * row;
    (void)v;
    for (; rows > 0; rows--, x += row, slot += length)
        for (ptrdiff_t i = 0; i < part->blocks; i++) mn_copy(x + i * part->xplane, row, slot + i * apart);
}

static void mn_depthwise_part(const mn_step *s, const mn_views *v, const mn_part *part)
{
    mn_window_part(s, v, part, mn_copy_rows);
}
