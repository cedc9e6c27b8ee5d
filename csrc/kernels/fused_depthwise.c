/* fused_depthwise.c: a convolution, and the depthwise convolution of its result, in one pass.
 *
 *   expand_depthwise: after a 1x1 convolution, the first two thirds of an inverted residual
 *   conv_depthwise:   after the network's first convolution
 *
 * The tensor between the two is the largest around and is read once. Here it is never written: one block of its
 * channels is computed row by row straight into the ring that the window reads, and stays in L1. s->first is the first
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

/* What all rows of the expansion have in common. */
MN_INLINE mn_product mn_expansion(const mn_step *s, const mn_part *part)
{
    const mn_step *f = s->first;
    return (mn_product){
        .k = f->in[0].c, .xblock = part->xplane, .activation = f->activation, .clamp = mn_clamp_of(f->activation),
        .rate = mn_rate(f->in[0].h * f->in[0].w),
    };
}

/* `pixels` of the part's blocks of the expansion, from the given one on; each block's go to where the last one's went,
 * `apart` floats on. */
MN_INLINE void mn_expand(const mn_step *s, const mn_part *part, ptrdiff_t pixel, ptrdiff_t pixels, float *y, ptrdiff_t apart)
{
    const mn_step *f = s->first;
    mn_product *p = part->expansion;
    const ptrdiff_t c = part->block * MN_BLOCK, channels = mn_channels_of_part(&f->out, part);
    p->yblock = apart, p->pixel = pixel;
    const float *x = part->x + (pixel - part->xrow * s->in[0].w) * MN_BLOCK;
    mn_multiply_panels(p, pixels, 0, channels, x, f->constant[0] + c * p->k, f->constant[1] + c, y);
    for (ptrdiff_t i = 0; i < part->blocks; i++) mn_finish(y + i * apart, pixels * MN_BLOCK, f->activation);
}

static void mn_expand_row(const mn_step *s, const mn_views *v, const mn_part *part, ptrdiff_t iy, float *slot, ptrdiff_t apart)
{
    (void)v;
    mn_expand(s, part, iy * s->in[0].w, s->in[0].w, slot, apart);
}

static void mn_conv_row_of_part(const mn_step *s, const mn_views *v, const mn_part *part, ptrdiff_t iy, float *slot,
                                ptrdiff_t apart)
{
    const mn_step *f = s->first;
    const ptrdiff_t panels = mn_ceil_div(mn_channels_of_part(&f->out, part), MN_WIDTH), panel = part->block * (MN_BLOCK / MN_WIDTH);
    for (ptrdiff_t n = 0; n < panels; n += MN_CONV_PANELS) {
        float *const lanes[] = {mn_lanes(slot, apart, n * MN_WIDTH), mn_lanes(slot, apart, (n + 1) * MN_WIDTH)};
        mn_conv_panels(f, v->x[0], iy, 0, panel + n, mn_least(panels - n, MN_CONV_PANELS), lanes, MN_BLOCK);
    }
    for (ptrdiff_t i = 0; i < part->blocks; i++) mn_finish(slot + i * apart, f->out.w * MN_BLOCK, f->activation);
}

/* A row that is no whole number of tiles (7 pixels where a tile has 14; 14 are 5 + 5 + 4 where it has 6) keeps the FMA
 * units waiting. Where a block's plane is small enough for L1, all its pixels are expanded at once, into what follows the
 * rings, and taken from there row by row. */
#define MN_SMALL_PLANE 4096         /* floats; ops/fused_depthwise.py reserves as much for each block */

MN_INLINE int mn_expands_whole(const mn_step *s, const mn_views *v, const mn_part *part)
{
    const int turn = s->last != NULL || part->x != v->x[0];     /* a part of the picture, or of what it reads */
    return !turn && part->end - part->oy == s->out.h && s->in[0].w % MN_ROWS != 0 && mn_plane(&s->in[0]) <= MN_SMALL_PLANE;
}

MN_INLINE float *mn_expanded(const mn_step *s, const mn_views *v) { return v->workspace + MN_TOGETHER * mn_ring_floats(s); }

static void mn_take_row(const mn_step *s, const mn_views *v, const mn_part *part, ptrdiff_t iy, float *slot, ptrdiff_t apart)
{
    const ptrdiff_t row = s->in[0].w * MN_BLOCK, plane = mn_plane(&s->in[0]);
    for (ptrdiff_t i = 0; i < part->blocks; i++) mn_copy(mn_expanded(s, v) + i * plane + iy * row, row, slot + i * apart);
}

static void mn_expand_depthwise_part(const mn_step *s, const mn_views *v, const mn_part *given)
{
    mn_product expansion = mn_expansion(s, given);
    mn_part part = *given;
    part.expansion = &expansion;
    if (mn_expands_whole(s, v, &part)) {
        mn_expand(s, &part, 0, s->in[0].h * s->in[0].w, mn_expanded(s, v), mn_plane(&s->in[0]));
        mn_window_part(s, v, &part, mn_take_row);
    } else mn_window_part(s, v, &part, mn_expand_row);
}

static void mn_conv_depthwise_part(const mn_step *s, const mn_views *v, const mn_part *part)
{
    mn_window_part(s, v, part, mn_conv_row_of_part);
}
