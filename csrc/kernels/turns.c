/* turns.c: the kernels with a sliding window: which rows of which blocks of channels are done when.
 *
 * Large planes are cut into strips of rows: a task is a block of a strip, strip after strip, so that threads which share
 * out a step share out the picture, and each finds in its own cache what it wrote in the step before. Where two strips
 * meet, both fill in the rows between them, so a strip has several times as many. A mean is of whole planes.
 *
 * If s->last is to follow, it does so after every few rows, a turn. It finds them in the cache: they lie behind the rings of
 * all blocks, in memory that the next turn overwrites, so that the tensor between the two is nowhere as a whole. A ring goes
 * on from turn to turn: neighbouring strips that are done together compute no row twice. s->last may be a 1x1 convolution, or
 * one with the depthwise convolution of its result, whose rings lie behind. It wants all blocks, so a task is a strip.
 */
#define MN_MOST_STRIPS 8

/* The step whose rows the tasks are: the last one with a window. */
MN_INLINE const mn_step *mn_last_window(const mn_step *s)
{
    return s->last != NULL && s->last->kernel == MN_EXPAND_DEPTHWISE ? s->last : s;
}

static ptrdiff_t mn_strips(const mn_step *s)
{
    const mn_step *const t = mn_last_window(s);
    return t->means ? 1 : mn_most(1, mn_least(t->out.h * t->sh / (4 * mn_window_height(t)), MN_MOST_STRIPS));
}

MN_INLINE ptrdiff_t mn_tasks_of_strip(const mn_step *s) { return s->last == NULL ? mn_blocks(s->out.c) : 1; }

static ptrdiff_t mn_window_tasks(const mn_step *s) { return mn_tasks_of_strip(s) * mn_strips(s); }

typedef void (*mn_work)(const mn_step *s, const mn_views *v, const mn_part *part);

/* A part that begins with output row oy, and nothing in its rings. `places` is filled in if rows are expanded. */
MN_INLINE mn_part mn_begin(const mn_step *s, const mn_views *v, ptrdiff_t oy, float *rings, ptrdiff_t *places)
{
    if (s->kernel == MN_EXPAND_DEPTHWISE) mn_place_pixels(s, places);
    const mn_extent *const in = s->first == NULL ? &s->in[0] : &s->first->in[0];
    const ptrdiff_t top = oy * s->sh - s->pt;
    return (mn_part){
        .oy = oy, .plane = mn_plane(&s->out), .rings = rings, .next = top, .x = v->x[0], .xplane = mn_plane(in), .keep = top,
        .places = places,
    };
}

/* The state of the rings after a part. */
MN_INLINE void mn_advance(const mn_step *s, mn_part *part)
{
    const ptrdiff_t done = part->end - part->oy, below = (part->end - 1) * s->sh - s->pt + mn_window_height(s);
    part->oldest = (part->oldest + done * s->sh) % s->slots;
    part->next = mn_most(mn_most(part->next, part->keep), done > 0 ? below : part->next);
    part->oy = part->end;
}

/* Zeros beside the rows that the slots of `blocks` rings are going to hold, one after the other. */
static void mn_clear_margins(const mn_step *s, float *rings, ptrdiff_t blocks)
{
    const ptrdiff_t length = mn_ring_length(s), left = s->pl * MN_BLOCK, right = left + s->in[0].w * MN_BLOCK;
    for (ptrdiff_t i = 0; i < blocks * s->slots; i++, rings += length) {
        memset(rings, 0, (size_t)left * sizeof(float));
        memset(rings + right, 0, (size_t)(length - right) * sizeof(float));
    }
}

/* The part's rows of blocks from to to - 1, `together` at once; those of block 0 would go to y. What is too much for that goes
 * first: a last block that is half empty costs half as much in company (see tile.c). The rings of neighbouring
 * blocks are `apart` floats apart, or the same if it is 0. A last block that is at most half full may be left to registers of
 * half its width (see isa/kernels.h). */
MN_INLINE void mn_rows_of_blocks(const mn_step *s, const mn_views *v, mn_part part, float *y, ptrdiff_t from, ptrdiff_t to,
                                 ptrdiff_t apart, ptrdiff_t together, mn_work work)
{
    float *const rings = part.rings;
    for (part.block = from; part.block < to; part.block += part.blocks) {
        part.blocks = (to - part.block) % together == 0 || s->halved ? mn_least(together, to - part.block) : 1;
        part.y = y + part.block * part.plane;
        part.rings = rings + part.block * apart;
#ifdef MN_HALF
        if (s->halved && part.block + part.blocks == mn_blocks(s->out.c)) {
            if (part.blocks > 1) part.blocks--;
            else {
                MN_HALF.part[s->kernel](s, v, &part);
                continue;
            }
        }
#endif
        work(s, v, &part);
    }
}

/* Output rows oy to end - 1 of s->last, whatever they need of s, turn by turn. */
MN_INLINE void mn_take_turns(const mn_step *s, const mn_views *v, ptrdiff_t oy, ptrdiff_t end, ptrdiff_t together, mn_work work)
{
    const mn_step *const t = s->last;
    const int window = mn_last_window(s) == t;
    const ptrdiff_t blocks = mn_blocks(s->out.c), ring = mn_ring_floats(s), plane = s->turn * s->out.w * MN_BLOCK;
    const ptrdiff_t first = window ? mn_most(0, oy * t->sh - t->pt) : oy;
    const ptrdiff_t stop = window ? mn_least(s->out.h, (end - 1) * t->sh - t->pt + mn_window_height(t)) : end;
    float *const strip = v->workspace + blocks * ring;
    ptrdiff_t places[2][MN_PLACES];
    mn_part part = mn_begin(s, v, first, v->workspace, places[0]), after = mn_begin(t, v, oy, strip + blocks * plane, places[1]);
    part.plane = after.xplane = plane;
    after.x = strip;
    mn_clear_margins(s, part.rings, blocks);
    if (window) mn_clear_margins(t, after.rings, mn_blocks(t->out.c));
    while (part.oy < stop) {
        part.end = mn_least(stop, part.oy + s->turn);
        mn_rows_of_blocks(s, v, part, strip, 0, blocks, ring, together, work);
        if (window) {
            const ptrdiff_t complete = part.end + t->pt - mn_window_height(t);      /* row of the last window that is */
            after.xrow = part.oy, after.keep = part.end;
            after.end = part.end == stop ? end : complete < 0 ? after.oy : mn_most(after.oy, complete / t->sh + 1);
            mn_rows_of_blocks(t, v, after, v->y + after.oy * t->out.w * MN_BLOCK, 0, mn_blocks(t->out.c),
                              mn_ring_floats(t), MN_TOGETHER, mn_expand_depthwise_part);
            mn_advance(t, &after);
        } else mn_rows_of(t)(t, v, strip, plane, part.oy * s->out.w, (part.end - part.oy) * s->out.w);
        mn_advance(s, &part);
    }
}

/* The tasks from first to last - 1, as few parts: neighbouring strips as one. */
MN_INLINE void mn_each_part(const mn_step *s, const mn_views *v, const ptrdiff_t first, const ptrdiff_t last,
                            ptrdiff_t together, mn_work work)
{
    const ptrdiff_t each = mn_tasks_of_strip(s), strips = mn_strips(s), height = mn_last_window(s)->out.h;
    for (ptrdiff_t task = first; task < last;) {
        const ptrdiff_t strip = task / each, from = task % each, whole = from == 0 ? (last - task) / each : 0;
        const ptrdiff_t high = mn_most(whole, 1), to = whole > 0 ? each : mn_least(each, from + last - task);
        const ptrdiff_t oy = strip * height / strips, end = (strip + high) * height / strips;
        if (s->last != NULL) mn_take_turns(s, v, oy, end, together, work);
        else {
            ptrdiff_t places[MN_PLACES];
            mn_part part = mn_begin(s, v, oy, v->workspace, places);
            part.end = end;
            mn_clear_margins(s, part.rings, together);
            mn_rows_of_blocks(s, v, part, v->y + oy * s->out.w * MN_BLOCK, from, to, 0, together, work);
        }
        task += high * (to - from);
    }
}

static void mn_depthwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t first, ptrdiff_t last)
{
    mn_each_part(s, v, first, last, 1, mn_depthwise_part);
}

static void mn_expand_depthwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t first, ptrdiff_t last)
{
    mn_each_part(s, v, first, last, MN_TOGETHER, mn_expand_depthwise_part);
}

static void mn_conv_depthwise_f32(const mn_step *s, const mn_views *v, ptrdiff_t first, ptrdiff_t last)
{
    mn_each_part(s, v, first, last, MN_TOGETHER, mn_conv_depthwise_part);
}
