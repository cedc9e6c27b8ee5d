/* window.c: sliding windows over one block of channels: what depthwise convolution is made of.
 *
 *   y[oy][ox] = f(bias + sum_{ky,kx} x[oy sh + ky dh - pt][ox sw + kx dw - pl] w[ky][kx])
 *
 * The rows that a window needs are first laid into a ring of padded rows, with zeros where the window
 * hangs over an edge: then no tap needs a check, and what is read lies in L1. Who fills the ring is
 * another matter: depthwise.c copies rows, fused_depthwise.c computes them.
 */

#define MN_MOST_ROWS 64             /* of a window; ops/conv.py sends larger ones elsewhere */
#define MN_MOST_TAPS 5              /* in a row of a window that is compiled for */

/* The ring: slot k, counted from the oldest, holds input row top + k, or zeros if there is no such row. */
typedef struct {
    float *memory;
    ptrdiff_t rows, length;         /* slots; floats of one padded row */
    ptrdiff_t oldest;               /* which slot in memory is the oldest */
} mn_ring;

MN_INLINE float *mn_ring_slot(const mn_ring *ring, ptrdiff_t k)
{
    const ptrdiff_t slot = ring->oldest + k;
    return ring->memory + (slot < ring->rows ? slot : slot - ring->rows) * ring->length;
}

/* Floats of one padded row: as far as the last window reaches, or the row with its left margin if that is longer. */
MN_INLINE ptrdiff_t mn_ring_length(const mn_step *s)
{
    const ptrdiff_t reach = (s->out.w - 1) * s->sw + (s->kw - 1) * s->dw + 1;
    return mn_most(reach, s->pl + s->in[0].w) * MN_BLOCK;
}

/* Slots of the ring: rows of the windows of MN_WINDOW_ROWS output rows. */
MN_INLINE ptrdiff_t mn_ring_rows(const mn_step *s) { return (s->kh - 1) * s->dh + 1 + s->sh; }

MN_INLINE ptrdiff_t mn_ring_floats(const mn_step *s) { return mn_ring_rows(s) * mn_ring_length(s); }

/* Rows of a window, of which two output rows meet different ones, are unrolled; one output row needs no such thing. */
#if MN_WINDOW_ROWS > 1
#define MN_WINDOW_LOOP MN_UNROLL
#else
#define MN_WINDOW_LOOP MN_ROLLED
#endif

/* `rows` x `count` neighbouring outputs of a window k high and wide, stride sw, all constants. Each x is loaded once and
 * meets the weights of every output that it belongs to: two rows share what they both read. Row r goes to y + r line. */
MN_INLINE void mn_window_tile(const int rows, const int count, const int k, const int sw, const int ending,
                              const float *const *row, ptrdiff_t at, const float *w, vf bias, float *y, ptrdiff_t line,
                              mn_clamp clamp)
{
    vf sum[MN_WINDOW_ROWS][MN_COLUMNS];
    MN_UNROLL for (int r = 0; r < rows; r++)
        MN_UNROLL for (int i = 0; i < count; i++) sum[r][i] = bias;
    MN_WINDOW_LOOP for (int iy = 0; iy < (rows - 1) * sw + k; iy++) {
        const float *x = row[iy] + at;
        vf weight[MN_WINDOW_ROWS][MN_MOST_TAPS];
        MN_UNROLL for (int r = 0; r < rows; r++)
            MN_UNROLL for (int kx = 0; kx < k; kx++)
                if (iy >= r * sw && iy - r * sw < k) weight[r][kx] = mn_load(w + ((iy - r * sw) * k + kx) * MN_BLOCK);
        MN_UNROLL for (int ix = 0; ix < (count - 1) * sw + k; ix++) {
            vf value = mn_load(x + ix * MN_BLOCK);
            mn_no_load_ahead();
            mn_opaque(value);                   /* or gcc loads it again for every weight */
            MN_UNROLL for (int kx = 0; kx < k; kx++) {
                const int i = (ix - kx) / sw;
                if (ix < kx || i >= count || i * sw + kx != ix) continue;
                MN_UNROLL for (int r = 0; r < rows; r++)
                    if (iy >= r * sw && iy - r * sw < k) sum[r][i] = mn_fma(value, weight[r][kx], sum[r][i]);
            }
        }
    }
    MN_UNROLL for (int r = 0; r < rows; r++, y += line) {
        mn_opaque_pointer(y);                   /* or gcc keeps the offset of each output in a register of its own */
        MN_UNROLL for (int i = 0; i < count; i++) mn_store(y + i * MN_BLOCK, mn_end(ending, clamp, sum[r][i]));
    }
}

/* Any other window: each weight is loaded once and meets `count` vectors of the row. */
MN_INLINE void mn_window_tile_any(const int count, const int ending, const mn_step *s, const float *const *row, ptrdiff_t at,
                                  const float *w, vf bias, float *y, mn_clamp clamp)
{
    vf sum[MN_COLUMNS];
    MN_UNROLL for (int i = 0; i < count; i++) sum[i] = bias;
    for (ptrdiff_t ky = 0; ky < s->kh; ky++) {
        const float *tap = row[ky] + at;
        for (ptrdiff_t kx = 0; kx < s->kw; kx++, tap += s->dw * MN_BLOCK, w += MN_BLOCK) {
            const vf weight = mn_load(w);
            MN_UNROLL for (int i = 0; i < count; i++) sum[i] = mn_fma(mn_load(tap + i * s->sw * MN_BLOCK), weight, sum[i]);
        }
    }
    MN_UNROLL for (int i = 0; i < count; i++) mn_store(y + i * MN_BLOCK, mn_end(ending, clamp, sum[i]));
}

/* What all output rows have in common. Columns are dealt out evenly: `more` tiles of least + 1, the others of `least`. */
typedef struct {
    ptrdiff_t tiles, least, more;
    ptrdiff_t length;               /* floats of one block of an output row */
    mn_clamp clamp;
} mn_line;

MN_INLINE mn_line mn_line_of(const mn_step *s)
{
    const ptrdiff_t tiles = mn_ceil_div(s->out.w, MN_COLUMNS);
    const mn_line line = {tiles, s->out.w / tiles, s->out.w % tiles, s->out.w * MN_BLOCK, mn_clamp_of(s->activation)};
    return line;
}

#define MN_WINDOW_CASE(N, ROWS, K, SW, E) \
    case N: mn_window_tile(ROWS, N, K, SW, E, row, from, w + i, start, to, line->length, line->clamp); break;
#define MN_WINDOW_CASE_ANY(N, E) case N: mn_window_tile_any(N, E, s, row, from, w + i, start, to, line->clamp); break;

/* One output row, or ROWS, of one block of channels, which lies `at` floats on in each row: `panels` vectors of it. */
#define MN_WINDOW_FUNCTION(NAME, CASE, SW, ...)                                                                     \
    static MN_NOINLINE void NAME(const mn_step *s, const mn_line *line, const float *const *row, ptrdiff_t at,      \
                                 ptrdiff_t panels, const float *w, const float *bias, float *y)                     \
    {                                                                                                               \
        (void)s;                                                                                                    \
        for (ptrdiff_t i = 0; i < panels * MN_WIDTH; i += MN_WIDTH) {                                               \
            const vf start = mn_load(bias + i);                                                                     \
            float *to = y + i;                                                                                      \
            ptrdiff_t from = at + i;                                                                                \
            for (ptrdiff_t t = 0; t < line->tiles; t++) {                                                           \
                const ptrdiff_t count = line->least + (t < line->more);                                             \
                switch (count) { MN_COLUMN_CASES(CASE, __VA_ARGS__) default: break; }                               \
                from += count * (SW) * MN_BLOCK, to += count * MN_BLOCK;                                            \
            }                                                                                                       \
        }                                                                                                           \
    }

#define MN_WINDOW_FUNCTIONS(K, SW)                                                                                  \
    MN_WINDOW_FUNCTION(mn_window_row_##K##_##SW, MN_WINDOW_CASE, SW, 1, K, SW, MN_CLAMP)                            \
    MN_WINDOW_FUNCTION(mn_window_row_##K##_##SW##_swish, MN_WINDOW_CASE, SW, 1, K, SW, MN_SWISH)                    \
    MN_WINDOW_FUNCTION(mn_window_rows_##K##_##SW, MN_WINDOW_CASE, SW, MN_WINDOW_ROWS, K, SW, MN_CLAMP)              \
    MN_WINDOW_FUNCTION(mn_window_rows_##K##_##SW##_swish, MN_WINDOW_CASE, SW, MN_WINDOW_ROWS, K, SW, MN_SWISH)

MN_WINDOW_FUNCTIONS(3, 1)
MN_WINDOW_FUNCTIONS(3, 2)
MN_WINDOW_FUNCTIONS(5, 1)
MN_WINDOW_FUNCTIONS(5, 2)
MN_WINDOW_FUNCTION(mn_window_row_any, MN_WINDOW_CASE_ANY, s->sw, MN_CLAMP)
MN_WINDOW_FUNCTION(mn_window_row_any_swish, MN_WINDOW_CASE_ANY, s->sw, MN_SWISH)

typedef void (*mn_window)(const mn_step *s, const mn_line *line, const float *const *row, ptrdiff_t at, ptrdiff_t panels,
                          const float *w, const float *bias, float *y);

/* Whether the window is one that is compiled for, which does MN_WINDOW_ROWS output rows at once. */
MN_INLINE int mn_is_known_window(const mn_step *s)
{
    const int square = s->kh == s->kw && s->sh == s->sw, dense = s->dh == 1 && s->dw == 1;
    return square && dense && (s->kw == 3 || s->kw == 5) && (s->sw == 1 || s->sw == 2);
}

#define MN_WINDOW_OF_ROW(K, SW) {mn_window_row_##K##_##SW, mn_window_row_##K##_##SW##_swish}
#if MN_WINDOW_ROWS > 1
#define MN_WINDOWS(K, SW) {MN_WINDOW_OF_ROW(K, SW), {mn_window_rows_##K##_##SW, mn_window_rows_##K##_##SW##_swish}}
#else
#define MN_WINDOWS(K, SW) {MN_WINDOW_OF_ROW(K, SW)}
#endif

static mn_window mn_window_of(const mn_step *s, ptrdiff_t rows)
{
    static const mn_window known[2][2][MN_WINDOW_ROWS][2] = {       /* by size, stride, rows, ending */
        {MN_WINDOWS(3, 1), MN_WINDOWS(3, 2)}, {MN_WINDOWS(5, 1), MN_WINDOWS(5, 2)},
    };
    const int swish = mn_ending(s->activation) == MN_SWISH;
    if (mn_is_known_window(s)) return known[s->kw == 5][s->sw == 2][rows - 1][swish];
    return swish ? mn_window_row_any_swish : mn_window_row_any;
}

/* What is done in one go: some output rows of some blocks of channels, each block with a ring of its own. */
typedef struct mn_part {
    ptrdiff_t block, blocks;        /* the first block, and how many */
    ptrdiff_t oy, end;              /* the first output row, and one past the last */
    float *y;                       /* where the first row of the first block goes */
    ptrdiff_t plane;                /* floats from there to where the next block's goes */
    float *rings;                   /* one after the other */
    ptrdiff_t oldest, next;         /* of each ring: the slot that is the oldest, the first input row that none has held yet */
} mn_part;

/* Fills a slot, from behind its left margin on, with input row iy of the part's first block; and the slots of the blocks
 * that follow, each `apart` floats from the one before. */
typedef void (*mn_fill)(const mn_step *s, const mn_views *v, const mn_part *part, ptrdiff_t iy, float *slot, ptrdiff_t apart);

/* A part; and the means of whole planes while they are in the cache, if a squeeze-and-excite block wants them.
 * constant: 0 weights [block][kh kw][BLOCK], 1 bias. */
MN_INLINE void mn_window_part(const mn_step *s, const mn_views *v, const mn_part *part, mn_fill fill)
{
    const ptrdiff_t rows = (s->kh - 1) * s->dh + 1, taps = s->kh * s->kw * MN_BLOCK, apart = mn_ring_floats(s);
    const mn_line line = mn_line_of(s);
    const float *row[MN_MOST_ROWS];
    mn_ring ring = {part->rings, mn_ring_rows(s), mn_ring_length(s), part->oldest};
    ptrdiff_t next = part->next;
    for (ptrdiff_t oy = part->oy, now; oy < part->end; oy += now) {
        now = mn_is_known_window(s) ? mn_least(part->end - oy, MN_WINDOW_ROWS) : 1;
        const ptrdiff_t top = oy * s->sh - s->pt, end = top + (now - 1) * s->sh + rows;
        for (next = mn_most(next, top); next < end; next++) {
            float *slot = mn_ring_slot(&ring, next - top);
            if (next >= 0 && next < s->in[0].h) fill(s, v, part, next, slot + s->pl * MN_BLOCK, apart);
            else
                for (ptrdiff_t i = 0; i < part->blocks; i++) memset(slot + i * apart, 0, (size_t)ring.length * sizeof(float));
        }
        for (ptrdiff_t k = 0; k < (now - 1) * s->sh + s->kh; k++) row[k] = mn_ring_slot(&ring, k * s->dh);
        const mn_window window = mn_window_of(s, now);
        for (ptrdiff_t i = 0, b = part->block; i < part->blocks; i++, b++) {
            float *y = part->y + i * part->plane + (oy - part->oy) * line.length;
            window(s, &line, row, i * apart, mn_panels_of_block(&s->out, b), s->constant[0] + b * taps,
                   s->constant[1] + b * MN_BLOCK, y);
            mn_finish(y, now * line.length, s->activation);
        }
        ring.oldest += now * s->sh;
        if (ring.oldest >= ring.rows) ring.oldest -= ring.rows;
    }
    for (ptrdiff_t i = 0; i < part->blocks && s->means; i++)
        mn_mean_block(part->y + i * part->plane, &s->out, v->y + mn_floats(&s->out) + (part->block + i) * MN_BLOCK);
}

/* The state of a ring after output rows oy to end - 1. */
MN_INLINE void mn_advance(const mn_step *s, mn_part *part)
{
    const ptrdiff_t below = (part->end - 1) * s->sh - s->pt + (s->kh - 1) * s->dh + 1;
    part->oldest = (part->oldest + (part->end - part->oy) * s->sh) % mn_ring_rows(s);
    part->next = mn_most(part->next, below);
    part->oy = part->end;
}

/* Zeros beside the rows that the slots of `blocks` rings are going to hold. */
static void mn_clear_margins(const mn_step *s, float *rings, ptrdiff_t blocks)
{
    const ptrdiff_t length = mn_ring_length(s), left = s->pl * MN_BLOCK, right = left + s->in[0].w * MN_BLOCK;
    for (ptrdiff_t i = 0; i < blocks * mn_ring_rows(s); i++, rings += length) {
        memset(rings, 0, (size_t)left * sizeof(float));
        memset(rings + right, 0, (size_t)(length - right) * sizeof(float));
    }
}

/* Large planes are cut into strips of rows: a task is a block of a strip, strip after strip, so that threads which share
 * out a step share out the picture, and each finds in its own cache what it wrote in the step before. Where two strips
 * meet, both fill in the rows between them, so a strip has several times as many. A mean is of whole planes. If the 1x1
 * convolution that reads the result is done at once, it wants all blocks, and a task is a strip. */
#define MN_MOST_STRIPS 8

static ptrdiff_t mn_strips(const mn_step *s)
{
    const ptrdiff_t most = s->out.h * s->sh / (4 * ((s->kh - 1) * s->dh + 1));
    return s->means ? 1 : mn_most(1, mn_least(most, MN_MOST_STRIPS));
}

MN_INLINE ptrdiff_t mn_tasks_of_strip(const mn_step *s) { return s->last == NULL ? mn_blocks(s->out.c) : 1; }

static ptrdiff_t mn_window_tasks(const mn_step *s) { return mn_tasks_of_strip(s) * mn_strips(s); }

typedef void (*mn_work)(const mn_step *s, const mn_views *v, const mn_part *part);

/* Output rows oy to end - 1 of blocks from to to - 1, up to `together` at once. A last block that is at most half full may be
 * left to registers of half its width (see isa/kernels.h).
 *
 * If s->last is to follow, it does so after every few rows, a turn. It finds them in the cache: they lie behind the rings of
 * all blocks, in a strip that the next turn overwrites, so that the tensor between the two is in no memory as a whole. A ring
 * goes from turn to turn: no row is computed twice. */
MN_INLINE void mn_window_rows(const mn_step *s, const mn_views *v, ptrdiff_t oy, ptrdiff_t end, ptrdiff_t from, ptrdiff_t to,
                              ptrdiff_t together, mn_work work)
{
    const ptrdiff_t ring = mn_ring_floats(s), line = s->out.w * MN_BLOCK, blocks = mn_blocks(s->out.c);
    const ptrdiff_t height = s->last ? s->turn : end - oy, plane = s->last ? height * line : mn_plane(&s->out);
    float *strip = v->workspace + blocks * ring;
    mn_part part = {from, 0, oy, 0, NULL, plane, v->workspace, 0, oy * s->sh - s->pt};
    for (int begun = 0; part.oy < end; begun = 1) {
        part.end = mn_least(end, part.oy + height);
        for (part.block = from; part.block < to; part.block += part.blocks) {
            float *const first = s->last ? strip : v->y + part.oy * line;
            part.blocks = mn_least(together, to - part.block);
            part.y = first + part.block * plane;
            if (s->last) part.rings = v->workspace + part.block * ring;
            if (!begun) mn_clear_margins(s, part.rings, part.blocks);
#ifdef MN_HALF
            if (s->halved && part.block + part.blocks == blocks) {
                if (part.blocks > 1) part.blocks--;
                else {
                    MN_HALF.part[s->kernel](s, v, &part);
                    continue;
                }
            }
#endif
            work(s, v, &part);
        }
        if (s->last) mn_rows_of(s->last)(s->last, v, strip, plane, part.oy * s->out.w, (part.end - part.oy) * s->out.w);
        mn_advance(s, &part);
    }
}

/* The tasks from first to last - 1, as few parts: neighbouring strips as one. */
MN_INLINE void mn_each_part(const mn_step *s, const mn_views *v, const ptrdiff_t first, const ptrdiff_t last,
                            ptrdiff_t together, mn_work work)
{
    const ptrdiff_t blocks = mn_blocks(s->out.c), each = mn_tasks_of_strip(s), strips = mn_strips(s);
    for (ptrdiff_t task = first; task < last;) {
        const ptrdiff_t strip = task / each, from = task % each, whole = from == 0 ? (last - task) / each : 0;
        const ptrdiff_t high = mn_most(whole, 1), to = whole > 0 ? each : mn_least(each, from + last - task);
        const ptrdiff_t oy = strip * s->out.h / strips, end = (strip + high) * s->out.h / strips;
        mn_window_rows(s, v, oy, end, from, s->last ? blocks : to, together, work);
        task += high * (to - from);
    }
}
