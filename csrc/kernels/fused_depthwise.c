/* fused_depthwise.c: a convolution, and the depthwise convolution of its result, in one pass.
 *
 *   expand_depthwise: after a 1x1 convolution, the first two thirds of an inverted residual
 *   conv_depthwise:   after the network's first convolution
 *
 * The tensor between the two is the largest around and is read once. Here it is never written: one block of its
 * channels is computed, some rows at a time, straight into the ring that the window reads, and stays in L1. s->first is the first
 * convolution as a step of its own, with its constants and activation; s itself is the depthwise one, as depthwise.c
 * has it; where the last block goes to registers of half its width, the panels of s->first there have that width too.
 * workspace: a ring for each block that is done at once. These are two where a block is one panel, since a tile likes to
 * have several; else one, whose ring fits L1 more easily. ops/fused_depthwise.py reserves as much for two. In turns
 * (turns.c) all blocks have one.
 */
#define MN_TOGETHER (MN_WIDTH == MN_BLOCK ? 2 : 1)

MN_INLINE ptrdiff_t mn_channels_of_part(const mn_extent *e, const mn_part *part)
{
    return mn_least(part->blocks * MN_BLOCK, e->c - part->block * MN_BLOCK);
}

/* As many rows are expanded at once as the ring has room for, and their tiles cut regardless of where a row ends: one that is no
 * whole number of tiles (7 pixels where a tile has 14; 14 are 5 + 5 + 4 where it has 6) would keep the FMA units waiting. Pixels of
 * neighbouring rows lie side by side in x, but not in the ring, whose rows are padded: this is where each goes, in floats from the
 * first one on. */
#define MN_PLACES 256

static void mn_place_pixels(const mn_step *s, ptrdiff_t *places)
{
    const ptrdiff_t width = s->in[0].w, length = mn_ring_length(s);
    for (ptrdiff_t row = 0; row < s->slots && (row + 1) * width <= MN_PLACES; row++)
        for (ptrdiff_t i = 0; i < width; i++) *places++ = row * length + i * MN_BLOCK;
}

/* What all rows of the expansion have in common. */
MN_INLINE mn_product mn_expansion(const mn_step *s, const mn_part *part)
{
    const mn_step *f = s->first;
    return (mn_product){
        .k = f->in[0].c, .xblock = part->xplane, .yblock = mn_ring_floats(s), .activation = f->activation,
        .clamp = mn_clamp_of(f->activation), .rate = mn_rate(f->in[0].h * f->in[0].w),
        .places = f->in[0].w <= MN_PLACES ? part->places : NULL,
    };
}

static void mn_expand_rows(const mn_step *s, const mn_views *v, const mn_part *part, ptrdiff_t iy, ptrdiff_t rows, float *slot,
                           ptrdiff_t apart)
{
    const mn_step *f = s->first;
    mn_product *p = part->expansion;
    const ptrdiff_t c = part->block * MN_BLOCK, channels = mn_channels_of_part(&f->out, part);
    const ptrdiff_t width = s->in[0].w, length = mn_ring_length(s);
    const ptrdiff_t most = rows * width <= MN_PLACES ? rows : mn_most(1, MN_PLACES / width);
    const float *x = part->x + (iy - part->xrow) * width * MN_BLOCK;
    (void)v;
    for (ptrdiff_t now; rows > 0; rows -= now, iy += now, x += now * width * MN_BLOCK) {
        now = mn_least(rows, most);
        p->pixel = iy * width;
        mn_multiply_panels(p, now * width, 0, channels, x, f->constant[0] + c * p->k, f->constant[1] + c, slot);
        for (ptrdiff_t r = 0; r < now; r++, slot += length)
            for (ptrdiff_t i = 0; i < part->blocks; i++) mn_finish(slot + i * apart, width * MN_BLOCK, f->activation);
    }
}

static void mn_conv_rows(const mn_step *s, const mn_views *v, const mn_part *part, ptrdiff_t iy, ptrdiff_t rows, float *slot,
                         ptrdiff_t apart)
{
    const mn_step *f = s->first;
    const ptrdiff_t panels = mn_ceil_div(mn_channels_of_part(&f->out, part), MN_WIDTH), panel = part->block * (MN_BLOCK / MN_WIDTH);
    for (; rows > 0; rows--, iy++, slot += mn_ring_length(s)) {
        for (ptrdiff_t n = 0; n < panels; n += MN_CONV_PANELS) {
            float *const lanes[] = {mn_lanes(slot, apart, n * MN_WIDTH), mn_lanes(slot, apart, (n + 1) * MN_WIDTH)};
            mn_conv_panels(f, v->x[0], iy, 0, panel + n, mn_least(panels - n, MN_CONV_PANELS), lanes, MN_BLOCK);
        }
        for (ptrdiff_t i = 0; i < part->blocks; i++) mn_finish(slot + i * apart, f->out.w * MN_BLOCK, f->activation);
    }
}

static void mn_expand_depthwise_part(const mn_step *s, const mn_views *v, const mn_part *given)
{
    mn_product expansion = mn_expansion(s, given);
    mn_part part = *given;
    part.expansion = &expansion;
    mn_window_part(s, v, &part, mn_expand_rows);
}

static void mn_conv_depthwise_part(const mn_step *s, const mn_views *v, const mn_part *part)
{
    mn_window_part(s, v, part, mn_conv_rows);
}
