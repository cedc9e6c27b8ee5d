/* window.c: sliding windows over one block of channels: what depthwise convolution is made of.
 *
 *   y[oy][ox] = f(bias + sum_{ky,kx} x[oy sh + ky dh - pt][ox sw + kx dw - pl] w[ky][kx])
 *
 * The rows that a window needs are first laid into a ring of padded rows, with zeros where the window
 * hangs over an edge: then no tap needs a check, and what is read lies in L1. Who fills the ring is
 * another matter: depthwise.c copies rows, fused_depthwise.c computes them. So is what is done when: see turns.c.
 */

#define MN_MOST_ROWS 64             /* of a window, which ops/conv.py sends elsewhere if larger, and of windows done in one call */
#define MN_MOST_TAPS 5              /* in a row of a window that is compiled for */

/* Floats of one padded row: as far as the last window reaches, or the row with its left margin if that is longer. */
MN_INLINE ptrdiff_t mn_ring_length(const mn_step *s)
{
    const ptrdiff_t reach = (s->out.w - 1) * s->sw + (s->kw - 1) * s->dw + 1;
    return mn_most(reach, s->pl + s->in[0].w) * MN_BLOCK;
}

/* Input rows from the first to the last of a window. */
MN_INLINE ptrdiff_t mn_window_height(const mn_step *s) { return (s->kh - 1) * s->dh + 1; }

/* The ring: s->slots padded rows. From the oldest on, they hold neighbouring input rows, or zeros if there is no such row. */
MN_INLINE ptrdiff_t mn_ring_floats(const mn_step *s) { return s->slots * mn_ring_length(s); }

/* Rows of a window, of which two output rows meet different ones, are unrolled; one output row needs no such thing. */
#if MN_WINDOW_ROWS > 1
#define MN_WINDOW_LOOP MN_UNROLL
#else
#define MN_WINDOW_LOOP MN_ROLLED
#endif

/* `rows` x `count` neighbouring outputs of a window k high and wide, stride sw, all constants. Each x is loaded once and
 * meets the weights of every output that it belongs to: two rows share what they both read. Row r goes to y + r line. If `half`,
 * of a block of which at most half is wanted, these are `count` pairs of outputs, each in one register. */
MN_INLINE void mn_window_tile(const int rows, const int count, const int half, const int k, const int sw, const int ending,
                              const float *const *row, ptrdiff_t at, const float *w, vf bias, float *y, ptrdiff_t line,
                              mn_clamp clamp)
{
    const int step = sw * (1 + half);                   /* from one sum's columns to the next one's */
    vf sum[MN_WINDOW_ROWS][MN_COLUMNS];
    MN_UNROLL for (int r = 0; r < rows; r++)
        MN_UNROLL for (int i = 0; i < count; i++) sum[r][i] = bias;
    MN_WINDOW_LOOP for (int iy = 0; iy < (rows - 1) * sw + k; iy++) {
        const float *x = row[iy] + at;
        vf weight[MN_WINDOW_ROWS][MN_MOST_TAPS];
        MN_UNROLL for (int r = 0; r < rows; r++)
            MN_UNROLL for (int kx = 0; kx < k; kx++)
                if (iy >= r * sw && iy - r * sw < k) {
                    const float *tap = w + ((iy - r * sw) * k + kx) * MN_BLOCK;
                    weight[r][kx] = half ? mn_load_twice(tap) : mn_load(tap);
                }
        MN_UNROLL for (int ix = 0; ix < (count - 1) * step + k; ix++) {
            vf value = half ? mn_load_shared(x + ix * MN_BLOCK, x + (ix + sw) * MN_BLOCK) : mn_load(x + ix * MN_BLOCK);
            mn_no_load_ahead();
            mn_opaque(value);                   /* or gcc loads it again for every weight */
            MN_UNROLL for (int kx = 0; kx < k; kx++) {
                const int i = (ix - kx) / step;
                if (ix < kx || i >= count || i * step + kx != ix) continue;
                MN_UNROLL for (int r = 0; r < rows; r++)
                    if (iy >= r * sw && iy - r * sw < k) sum[r][i] = mn_fma(value, weight[r][kx], sum[r][i]);
            }
        }
    }
    MN_UNROLL for (int r = 0; r < rows; r++, y += line) {
        mn_opaque_pointer(y);                   /* or gcc keeps the offset of each output in a register of its own */
        MN_UNROLL for (int i = 0; i < count; i++) {
            float *to = y + i * (1 + half) * MN_BLOCK;
            const vf result = mn_end(ending, clamp, sum[r][i]);
            if (half) mn_store_shared(to, to + MN_BLOCK, result);
            else mn_store(to, result);
        }
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

/* Columns, or pairs of them, are dealt out evenly: `more` tiles of least + 1, the others of `least`. */
typedef struct {
    ptrdiff_t tiles, least, more;
} mn_deal;

MN_INLINE mn_deal mn_dealt(ptrdiff_t columns)
{
    const ptrdiff_t tiles = mn_most(1, mn_ceil_div(columns, MN_COLUMNS));
    return (mn_deal){tiles, columns / tiles, columns % tiles};
}

/* What all output rows have in common. */
typedef struct {
    mn_deal columns, pairs;
    ptrdiff_t length;               /* floats of one block of an output row */
    mn_clamp clamp;
} mn_line;

MN_INLINE mn_line mn_line_of(const mn_step *s)
{
    return (mn_line){mn_dealt(s->out.w), mn_dealt(s->out.w / 2), s->out.w * MN_BLOCK, mn_clamp_of(s->activation)};
}

#define MN_WINDOW_CASE(N, HALF, ROWS, K, SW, E) \
    case N: mn_window_tile(ROWS, N, HALF, K, SW, E, row, from, w + i, start, to, line->length, line->clamp); break;
#define MN_WINDOW_CASE_ANY(N, HALF, ROWS, E) \
    case N: mn_window_tile_any(N, E, s, row, from, w + i, start, to, line->clamp); break;

/* What `deal` says of ROWS output rows, from i on in a block. */
#define MN_WINDOW_TILES(deal, CASE, SW, HALF, ...)                                                                  \
    for (ptrdiff_t t = 0; t < (deal).tiles; t++) {                                                                  \
        const ptrdiff_t count = (deal).least + (t < (deal).more);                                                   \
        switch (count) { MN_COLUMN_CASES(CASE, HALF, __VA_ARGS__) default: break; }                                 \
        from += count * (1 + HALF) * (SW) * MN_BLOCK, to += count * (1 + HALF) * MN_BLOCK;                          \
    }

/* ROWS output rows of one block of channels, which lies `at` floats on in each input row: `panels` vectors of it. */
#define MN_WINDOW_ROW(CASE, SW, ...)                                                                                \
    for (ptrdiff_t i = 0; i < panels * MN_WIDTH; i += MN_WIDTH) {                                                   \
        const vf start = mn_load(bias + i);                                                                         \
        float *to = y + i;                                                                                          \
        ptrdiff_t from = at + i;                                                                                    \
        MN_WINDOW_TILES(line->columns, CASE, SW, 0, __VA_ARGS__)                                                    \
    }

/* The same of a block of which at most half is wanted, in pairs of columns. */
#define MN_WINDOW_ROW_HALF(CASE, SW, ...)                                                                           \
    {                                                                                                               \
        const ptrdiff_t i = 0;                                                                                      \
        vf start = mn_load_twice(bias);                                                                             \
        float *to = y;                                                                                              \
        ptrdiff_t from = at;                                                                                        \
        (void)panels;                                                                                               \
        MN_WINDOW_TILES(line->pairs, CASE, SW, 1, __VA_ARGS__)                                                      \
        start = mn_load(bias);                                                                                      \
        if (s->out.w % 2 == 1) switch (1) { CASE(1, 0, __VA_ARGS__) }                                               \
    }

/* `rows` output rows, MOST at once. */
#define MN_WINDOW_FUNCTION(NAME, ROW, CASE, MOST, SH, SW, ...)                                                      \
    static MN_NOINLINE void NAME(const mn_step *s, const mn_line *line, ptrdiff_t rows, const float *const *row,    \
                                 ptrdiff_t at, ptrdiff_t panels, const float *w, const float *bias, float *y)       \
    {                                                                                                               \
        (void)s;                                                                                                    \
        for (; rows >= MOST; rows -= MOST, row += MOST * (SH), y += MOST * line->length)                            \
            ROW(CASE, SW, MOST, __VA_ARGS__)                                                                        \
        if (rows > 0) ROW(CASE, SW, 1, __VA_ARGS__)                                                                 \
    }

#define MN_WINDOW_FUNCTIONS(NAME, ROW, K, SW)                                                                       \
    MN_WINDOW_FUNCTION(NAME, ROW, MN_WINDOW_CASE, MN_WINDOW_ROWS, SW, SW, K, SW, MN_CLAMP)                          \
    MN_WINDOW_FUNCTION(NAME##_swish, ROW, MN_WINDOW_CASE, MN_WINDOW_ROWS, SW, SW, K, SW, MN_SWISH)

MN_WINDOW_FUNCTIONS(mn_window_3_1, MN_WINDOW_ROW, 3, 1)
MN_WINDOW_FUNCTIONS(mn_window_3_2, MN_WINDOW_ROW, 3, 2)
MN_WINDOW_FUNCTIONS(mn_window_5_1, MN_WINDOW_ROW, 5, 1)
MN_WINDOW_FUNCTIONS(mn_window_5_2, MN_WINDOW_ROW, 5, 2)
#if MN_SHARES
MN_WINDOW_FUNCTIONS(mn_window_3_1_half, MN_WINDOW_ROW_HALF, 3, 1)
MN_WINDOW_FUNCTIONS(mn_window_3_2_half, MN_WINDOW_ROW_HALF, 3, 2)
#endif

MN_WINDOW_FUNCTION(mn_window_any, MN_WINDOW_ROW, MN_WINDOW_CASE_ANY, 1, s->sh, s->sw, MN_CLAMP)
MN_WINDOW_FUNCTION(mn_window_any_swish, MN_WINDOW_ROW, MN_WINDOW_CASE_ANY, 1, s->sh, s->sw, MN_SWISH)

typedef void (*mn_window)(const mn_step *s, const mn_line *line, ptrdiff_t rows, const float *const *row, ptrdiff_t at,
                          ptrdiff_t panels, const float *w, const float *bias, float *y);

#define MN_BY_ENDING(NAME) {NAME, NAME##_swish}

/* The function for block b. Windows that are compiled for are square ones of 3 and 5 at strides 1 and 2; those of 5 are so
 * large that those of half a block are not worth their code. */
static mn_window mn_window_of(const mn_step *s, ptrdiff_t b)
{
    static const mn_window any[2] = MN_BY_ENDING(mn_window_any);
    static const mn_window known[2][2][2] = {           /* by size, stride, ending */
        {MN_BY_ENDING(mn_window_3_1), MN_BY_ENDING(mn_window_3_2)}, {MN_BY_ENDING(mn_window_5_1), MN_BY_ENDING(mn_window_5_2)},
    };
    const int square = s->kh == s->kw && s->sh == s->sw, dense = s->dh == 1 && s->dw == 1;
    const int swish = mn_ending(s->activation) == MN_SWISH;
    if (!square || !dense || (s->kw != 3 && s->kw != 5) || (s->sw != 1 && s->sw != 2)) return any[swish];
#if MN_SHARES
    static const mn_window half[2][2] = {MN_BY_ENDING(mn_window_3_1_half), MN_BY_ENDING(mn_window_3_2_half)};
    if (s->kw == 3 && s->out.c - b * MN_BLOCK <= MN_BLOCK / 2) return half[s->sw == 2][swish];
#endif
    (void)b;
    return known[s->kw == 5][s->sw == 2][swish];
}

/* What is done in one go: some output rows of some blocks of channels, each block with a ring of its own. */
typedef struct mn_part {
    ptrdiff_t block, blocks;        /* the first block, and how many */
    ptrdiff_t oy, end;              /* the first output row, and one past the last */
    float *y;                       /* where the first row of the first block goes */
    ptrdiff_t plane;                /* floats from there to where the next block's goes */
    float *rings;                   /* one after the other */
    ptrdiff_t oldest, next;         /* of each ring: the slot that is the oldest, the first input row that none has held yet */
    const float *x;                 /* input row xrow of the input's first block, */
    ptrdiff_t xplane, xrow;         /* and floats from there to the next block's */
    mn_product *expansion;          /* of the rows that are expanded */
    const ptrdiff_t *places;        /* of their pixels in the ring: see mn_place_pixels */
    ptrdiff_t keep;                 /* input rows up to this one are gone after this part: the rings must take them in now */
} mn_part;

/* Fills neighbouring slots, from behind the left margin of the first on, with `rows` input rows from iy on of the part's first
 * block; and those of the blocks that follow, each `apart` floats from the one before. */
typedef void (*mn_fill)(const mn_step *s, const mn_views *v, const mn_part *part, ptrdiff_t iy, ptrdiff_t rows, float *slot,
                        ptrdiff_t apart);

/* Input rows from `next` to end - 1 into rings `apart` floats apart, whose oldest slot holds row `top`. */
MN_INLINE void mn_fill_rows(const mn_step *s, const mn_views *v, const mn_part *part, mn_fill fill, ptrdiff_t apart,
                            ptrdiff_t oldest, ptrdiff_t top, ptrdiff_t next, ptrdiff_t end)
{
    const ptrdiff_t length = mn_ring_length(s);
    for (ptrdiff_t rows; next < end; next += rows) {
        const ptrdiff_t k = oldest + next - top, at = k < s->slots ? k : k - s->slots;
        float *slot = part->rings + at * length;
        if (next >= 0 && next < s->in[0].h) {
            rows = mn_least(mn_least(end, s->in[0].h) - next, s->slots - at);
            fill(s, v, part, next, rows, slot + s->pl * MN_BLOCK, apart);
        } else {
            rows = 1;
            for (ptrdiff_t i = 0; i < part->blocks; i++) memset(slot + i * apart, 0, (size_t)length * sizeof(float));
        }
    }
}

/* A part; and the means of whole planes while they are in the cache, if a squeeze-and-excite block wants them. Whenever rows are
 * missing, all slots are filled that the part needs.
 * constant: 0 weights [block][kh kw][BLOCK], 1 bias. */
MN_INLINE void mn_window_part(const mn_step *s, const mn_views *v, const mn_part *part, mn_fill fill)
{
    const ptrdiff_t height = mn_window_height(s), taps = s->kh * s->kw * MN_BLOCK;
    const ptrdiff_t length = mn_ring_length(s), apart = mn_ring_floats(s), needed = (part->end - 1) * s->sh - s->pt + height;
    const mn_line line = mn_line_of(s);
    const mn_window window = mn_window_of(s, part->block), last = mn_window_of(s, part->block + part->blocks - 1);
    const ptrdiff_t most = s->dh == 1 ? (mn_least(s->slots, MN_MOST_ROWS) - height) / s->sh + 1 : 1;
    const float *const end = part->rings + apart, *row[MN_MOST_ROWS];
    ptrdiff_t oldest = part->oldest, next = part->next, top = part->oy * s->sh - s->pt;
    float *y = part->y;
    for (ptrdiff_t oy = part->oy, now; oy < part->end; oy += now, y += now * line.length) {
        now = mn_least(part->end - oy, most);
        if (next < top + (now - 1) * s->sh + height) {
            const ptrdiff_t filled = mn_least(needed, top + s->slots);
            mn_fill_rows(s, v, part, fill, apart, oldest, top, mn_most(next, top), filled);
            next = filled;
        }
        const float *slot = part->rings + oldest * length;
        for (ptrdiff_t k = 0; k < (now - 1) * s->sh + s->kh; k++) {
            row[k] = slot;
            slot += s->dh * length;
            if (slot >= end) slot -= apart;
        }
        for (ptrdiff_t i = 0, b = part->block; i < part->blocks; i++, b++) {
            float *to = y + i * part->plane;
            (i + 1 < part->blocks ? window : last)(s, &line, now, row, i * apart, mn_panels_of_block(&s->out, b),
                                                   s->constant[0] + b * taps, s->constant[1] + b * MN_BLOCK, to);
            mn_finish(to, now * line.length, s->activation);
        }
        top += now * s->sh, oldest += now * s->sh;
        while (oldest >= s->slots) oldest -= s->slots;      /* twice where a stride is larger than its window */
    }
    mn_fill_rows(s, v, part, fill, apart, oldest, top, mn_most(next, top), part->keep);
    for (ptrdiff_t i = 0; i < part->blocks && s->means; i++)
        mn_mean_block(part->y + i * part->plane, &s->out, v->y + mn_floats(&s->out) + (part->block + i) * MN_BLOCK);
}
