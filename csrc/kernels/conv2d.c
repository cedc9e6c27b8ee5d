/* conv2d.c: the general convolution; the first layer of every network, and the full twin of V1.
 *
 *   y[oy][ox][g n] = f(bias[g][n] + sum_{k,ky,kx} x[oy sh + ky dh - pt][ox sw + kx dw - pl][g k] w[g][k][ky][kx][n])
 *
 * Any window, stride, dilation, padding and groups. x is blocked, or planar (in[0].lanes is 1: the network's own
 * input, read as it came). constant: 0 weights, per group in panels [n / WIDTH][k kh kw][WIDTH], zero filled; 1 bias,
 * filled likewise. workspace: a row of one panel, if there are groups. One task is one output row.
 */
#define MN_CONV_PANELS 2

/* Pixels of a stem's tile of one panel, which holds the weights of a row of the window beside its sums. */
#if MN_ROWS == 6
#define MN_STEM_ROWS 8
#define MN_STEM_CASES MN_TO_8
#else
#define MN_STEM_ROWS MN_THIN_ROWS
#define MN_STEM_CASES MN_THIN_CASES
#endif

/* What the tiles of one output row have in common. */
typedef struct {
    const mn_step *s;
    const float *x, *w, *bias;
    float *const *y;                            /* where panel j of output column 0 goes */
    ptrdiff_t stride;                           /* floats from one output column to the next */
    ptrdiff_t iy, ky0, ky1;                     /* input row of the top tap; rows of the window that are real */
    ptrdiff_t first, depth, panel;              /* first input channel, how many; floats of a panel */
    mn_clamp clamp;
} mn_conv_row;

/* The part of a geometry that is worth compiling for: constants beside a stem, run time values otherwise. */
typedef struct {
    ptrdiff_t kw, sw, dw, lanes;
} mn_conv_shape;

/* `count` neighbouring outputs x `panels` panels, from output column ox on. Columns are checked if `edge`. */
MN_INLINE void mn_conv_tile(const int count, const int panels, const int edge, const int ending, const mn_conv_shape k,
                            const mn_conv_row *c, ptrdiff_t ox)
{
    const mn_extent *in = &c->s->in[0];
    const ptrdiff_t plane = in->h * in->w * k.lanes, ix = ox * k.sw - c->s->pl;
    vf sum[MN_THIN_ROWS][MN_CONV_PANELS];
    MN_UNROLL for (int i = 0; i < count; i++)
        MN_UNROLL for (int j = 0; j < panels; j++) sum[i][j] = mn_load(c->bias + j * MN_WIDTH);
    const float *plane_x = c->x + (c->iy * in->w + ix) * k.lanes + c->first / k.lanes * plane, *w = c->w;
    ptrdiff_t lane = c->first % k.lanes;
    for (ptrdiff_t d = 0; d < c->depth; d++, w += c->s->kh * k.kw * MN_WIDTH) {
        for (ptrdiff_t ky = c->ky0; ky < c->ky1; ky++) {
            const float *x = plane_x + ky * c->s->dh * in->w * k.lanes + lane, *weight = w + ky * k.kw * MN_WIDTH;
            MN_ROLLED for (ptrdiff_t kx = 0; kx < k.kw; kx++, x += k.dw * k.lanes, weight += MN_WIDTH) {
                if (edge && (ix + kx * k.dw < 0 || ix + kx * k.dw >= in->w)) continue;
                vf tap[MN_CONV_PANELS];
                mn_no_load_ahead();
                MN_UNROLL for (int j = 0; j < panels; j++) tap[j] = mn_load(weight + j * c->panel);
                MN_UNROLL for (int i = 0; i < count; i++) {
                    const vf value = mn_set(x[i * k.sw * k.lanes]);
                    if (panels == 1) mn_add_single_product(sum[i][0], value, tap[0]);
                    else MN_UNROLL for (int j = 0; j < panels; j++) mn_add_product(sum[i][j], value, tap[j]);
                }
            }
        }
        if (++lane == k.lanes) lane = 0, plane_x += plane;
    }
    const mn_clamp clamp = c->clamp;            /* read once: for all the compiler knows, a store might change it */
    const ptrdiff_t stride = c->stride;
    MN_UNROLL for (int j = 0; j < panels; j++) {
        float *y = c->y[j] + ox * stride;
        MN_UNROLL for (int i = 0; i < count; i++, y += stride) mn_store(y, mn_end(ending, clamp, sum[i][j]));
    }
}

/* The same for a stem, which is 3x3 at stride 2 on a planar picture: what one row of the window on one channel adds to each
 * pixel i, and what follows it. Neighbours both read some x: where a tile has registers for the weights of the whole row, which
 * is where it has one panel, it loads each x once. If `half`, of a panel of which at most half is wanted, pixel i is a pair of
 * neighbours in one register, and the five values that both read come with one load. */
#define MN_STEM_TAPS 3
#define MN_STEM_STRIDE 2

#define MN_ADD_STEM_ROW(AND)                                                                                       \
    if (half) {                                                                                                    \
        vf tap[MN_STEM_TAPS];                                                                                      \
        MN_UNROLL for (int kx = 0; kx < MN_STEM_TAPS; kx++) tap[kx] = mn_load_twice(w + kx * MN_WIDTH);            \
        MN_UNROLL for (int i = 0; i < count; i++) {                                                                \
            mn_no_load_ahead();                                                                                    \
            const vf values = mn_load_some(x + 2 * i * MN_STEM_STRIDE, inside);                                    \
            MN_UNROLL for (int kx = 0; kx < MN_STEM_TAPS; kx++)                                                    \
                mn_add_product(sum[i][0], mn_pick(values, kx, kx + MN_STEM_STRIDE), tap[kx]);                      \
            AND                                                                                                    \
        }                                                                                                          \
    } else if (panels == 1) {                                                                                      \
        vf tap[MN_STEM_TAPS];                                                                                      \
        MN_UNROLL for (int kx = 0; kx < MN_STEM_TAPS; kx++) tap[kx] = mn_load(w + kx * MN_WIDTH);                  \
        vf value = mn_set(x[0]);                                                                                   \
        MN_UNROLL for (int i = 0; i < count; i++) {                                                                \
            MN_UNROLL for (int kx = 0; kx < MN_STEM_TAPS; kx++) {                                                  \
                mn_no_load_ahead();                                                                                \
                if (kx > 0) value = mn_set(x[i * MN_STEM_STRIDE + kx]);                                            \
                mn_add_product(sum[i][0], value, tap[kx]);                                                         \
            }                                                                                                      \
            AND                                                                                                    \
        }                                                                                                          \
    } else MN_UNROLL for (int kx = 0; kx < MN_STEM_TAPS; kx++) {                                                   \
        vf tap[MN_CONV_PANELS];                                                                                    \
        mn_no_load_ahead();                                                                                        \
        MN_UNROLL for (int j = 0; j < panels; j++) tap[j] = mn_load(w + kx * MN_WIDTH + j * c->panel);             \
        MN_UNROLL for (int i = 0; i < count; i++) {                                                                \
            const vf value = mn_set(x[i * MN_STEM_STRIDE + kx]);                                                   \
            MN_UNROLL for (int j = 0; j < panels; j++) mn_add_product(sum[i][j], value, tap[j]);                   \
            if (kx == MN_STEM_TAPS - 1) { AND }                                                                    \
        }                                                                                                          \
    }

/* A pixel's results leave while the next one's are computed, as those of tile.c do. */
#define MN_END_STEM_PIXEL                                                                                          \
    if (i == 0) {                                                                                                  \
        mn_no_load_ahead();                                                                                        \
        clamp = c->clamp;                                                                                          \
    }                                                                                                              \
    if (half) {                                                                                                    \
        float *to = y[0] + 2 * i * stride;                                                                         \
        mn_store_shared(to, to + stride, mn_end(ending, clamp, sum[i][0]));                                        \
    } else MN_UNROLL for (int j = 0; j < panels; j++) mn_store(y[j] + i * stride, mn_end(ending, clamp, sum[i][j]));

/* All columns are inside, but for a pair, of which `inside` has a bit for each value that is. A picture comes from memory, in short
 * rows that no processor sees as a stream: each tile fetches what the one below it is going to read. */
MN_INLINE void mn_stem_tile(const int count, const int panels, const int half, const int ending, const mn_conv_row *c,
                            ptrdiff_t ox, unsigned inside)
{
    const mn_extent *in = &c->s->in[0];
    const ptrdiff_t width = in->w, rows = c->ky1 - c->ky0, row = MN_STEM_TAPS * MN_WIDTH, stride = c->stride;
    const ptrdiff_t next_plane = (in->h - rows + 1) * width, next_weights = (c->s->kh - rows + 1) * row;
    const float *x = c->x + (c->first * in->h + c->iy + c->ky0) * width + ox * MN_STEM_STRIDE - c->s->pl, *w = c->w + c->ky0 * row;
    vf sum[MN_THIN_ROWS][MN_CONV_PANELS];
    MN_UNROLL for (int i = 0; i < count; i++)
        MN_UNROLL for (int j = 0; j < panels; j++)
            sum[i][j] = half ? mn_load_twice(c->bias) : mn_load(c->bias + j * MN_WIDTH);
    MN_ROLLED for (ptrdiff_t left = c->depth * rows - 1, ky = 0; left > 0; left--) {
        for (int i = 0; i < count * (1 + half) * MN_STEM_STRIDE; i += 16) mn_fetch_to_l1(x + c->s->kh * width + i);
        MN_ADD_STEM_ROW()
        const int last = ++ky == rows;          /* of a plane */
        x += last ? next_plane : width, w += last ? next_weights : row;
        if (last) ky = 0;
    }
    float *y[MN_CONV_PANELS];
    mn_clamp clamp = c->clamp;                      /* which the first pixel reads again */
    MN_UNROLL for (int j = 0; j < panels; j++) y[j] = c->y[j] + ox * stride;
    MN_ADD_STEM_ROW(MN_END_STEM_PIXEL)
}

/* First and one past the last output column whose window lies inside the input. */
MN_INLINE void mn_inside(const mn_step *s, ptrdiff_t *first, ptrdiff_t *last)
{
    const ptrdiff_t reach = s->in[0].w - 1 + s->pl - (s->kw - 1) * s->dw;    /* of the leftmost tap */
    *first = mn_least(mn_ceil_div(s->pl, s->sw), s->out.w);
    *last = mn_most(*first, reach < 0 ? 0 : mn_least(reach / s->sw + 1, s->out.w));
}

#define MN_CONV_CASE(N, P, E) case N: mn_conv_tile(N, P, 0, E, k, c, ox); break;
#define MN_STEM_CASE(N, P, E) case N: mn_stem_tile(N, P, 0, E, c, ox, 0); break;

/* All columns of one output row by P panels: those at the edges one by one, the others dealt out evenly. */
#define MN_CONV_FUNCTION(NAME, P, E, SHAPE, CASE, ROWS, CASES)                                                     \
    static MN_NOINLINE void NAME(const mn_conv_row *c)                                                             \
    {                                                                                                              \
        const mn_conv_shape k = SHAPE;                                                                             \
        ptrdiff_t first, last, ox = 0;                                                                             \
        mn_inside(c->s, &first, &last);                                                                            \
        const ptrdiff_t tiles = mn_ceil_div(last - first, ROWS);                                                   \
        for (; ox < first; ox++) mn_conv_tile(1, P, 1, E, k, c, ox);                                               \
        for (ptrdiff_t t = 0; t < tiles; t++) {                                                                    \
            const ptrdiff_t count = (last - first) / tiles + (t < (last - first) % tiles);                         \
            switch (count) { CASES(CASE, P, E) default: break; }                                                   \
            ox += count;                                                                                           \
        }                                                                                                          \
        for (; ox < c->s->out.w; ox++) mn_conv_tile(1, P, 1, E, k, c, ox);                                         \
    }

#define MN_CONV_ANY {c->s->kw, c->s->sw, c->s->dw, c->s->in[0].lanes}
#define MN_CONV_STEM {MN_STEM_TAPS, MN_STEM_STRIDE, 1, 1}

MN_CONV_FUNCTION(mn_conv_1, 1, MN_CLAMP, MN_CONV_ANY, MN_CONV_CASE, MN_THIN_ROWS, MN_THIN_CASES)
MN_CONV_FUNCTION(mn_conv_2, 2, MN_CLAMP, MN_CONV_ANY, MN_CONV_CASE, MN_ROWS, MN_CASES)
MN_CONV_FUNCTION(mn_conv_1_swish, 1, MN_SWISH, MN_CONV_ANY, MN_CONV_CASE, MN_THIN_ROWS, MN_THIN_CASES)
MN_CONV_FUNCTION(mn_conv_2_swish, 2, MN_SWISH, MN_CONV_ANY, MN_CONV_CASE, MN_ROWS, MN_CASES)
MN_CONV_FUNCTION(mn_stem_1, 1, MN_CLAMP, MN_CONV_STEM, MN_STEM_CASE, MN_STEM_ROWS, MN_STEM_CASES)
MN_CONV_FUNCTION(mn_stem_2, 2, MN_CLAMP, MN_CONV_STEM, MN_STEM_CASE, MN_ROWS, MN_CASES)
MN_CONV_FUNCTION(mn_stem_1_swish, 1, MN_SWISH, MN_CONV_STEM, MN_STEM_CASE, MN_STEM_ROWS, MN_STEM_CASES)
MN_CONV_FUNCTION(mn_stem_2_swish, 2, MN_SWISH, MN_CONV_STEM, MN_STEM_CASE, MN_ROWS, MN_CASES)

#if MN_SHARES
/* The same for half a panel, in pairs of columns. Where the windows hang over an edge, what is outside is 0. */
#define MN_STEM_PAIR 0x1fu              /* the values that a row of both windows reads: five neighbours */
#define MN_STEM_HALF_CASE(N, E) case N: mn_stem_tile(N, 1, 1, E, c, ox, MN_STEM_PAIR); break;

static unsigned mn_inside_pair(const mn_step *s, ptrdiff_t ox)
{
    const ptrdiff_t ix = ox * MN_STEM_STRIDE - s->pl, right = mn_most(s->in[0].w - ix, 0);
    return ix <= -16 ? 0 : MN_STEM_PAIR & (~0u << mn_most(-ix, 0)) & ((1u << mn_least(right, 16)) - 1);
}

#define MN_STEM_HALF_FUNCTION(NAME, E)                                                                             \
    static MN_NOINLINE void NAME(const mn_conv_row *c)                                                             \
    {                                                                                                              \
        const mn_conv_shape k = MN_CONV_STEM;                                                                      \
        const ptrdiff_t pairs = c->s->out.w / 2;                                                                   \
        ptrdiff_t first, last, ox = 0;                                                                             \
        mn_inside(c->s, &first, &last);                                                                            \
        first = mn_least(mn_ceil_div(first, 2), pairs), last = mn_most(first, last / 2);                           \
        const ptrdiff_t tiles = mn_ceil_div(last - first, MN_STEM_ROWS);                                           \
        for (; ox < 2 * first; ox += 2) mn_stem_tile(1, 1, 1, E, c, ox, mn_inside_pair(c->s, ox));                 \
        for (ptrdiff_t t = 0; t < tiles; t++) {                                                                    \
            const ptrdiff_t count = (last - first) / tiles + (t < (last - first) % tiles);                         \
            switch (count) { MN_STEM_CASES(MN_STEM_HALF_CASE, E) default: break; }                                 \
            ox += 2 * count;                                                                                       \
        }                                                                                                          \
        for (; ox < 2 * pairs; ox += 2) mn_stem_tile(1, 1, 1, E, c, ox, mn_inside_pair(c->s, ox));                 \
        if (ox < c->s->out.w) mn_conv_tile(1, 1, 1, E, k, c, ox);                                                  \
    }

MN_STEM_HALF_FUNCTION(mn_stem_half, MN_CLAMP)
MN_STEM_HALF_FUNCTION(mn_stem_half_swish, MN_SWISH)
#endif

/* All columns of an output row by so many panels, of which `channels` are wanted. */
static void mn_conv_columns(const mn_conv_row *c, ptrdiff_t panels, ptrdiff_t channels)
{
    static void (*const columns[2][2][MN_CONV_PANELS])(const mn_conv_row *) = {
        {{mn_conv_1, mn_conv_2}, {mn_conv_1_swish, mn_conv_2_swish}},
        {{mn_stem_1, mn_stem_2}, {mn_stem_1_swish, mn_stem_2_swish}},
    };
    const mn_step *s = c->s;
    const int stem = s->kw == MN_STEM_TAPS && s->kh == MN_STEM_TAPS && s->sw == MN_STEM_STRIDE && s->dw == 1 && s->dh == 1 &&
                     s->in[0].lanes == 1 && c->ky0 < c->ky1;
    const int ending = mn_ending(s->activation);
#if MN_SHARES
    if (stem && channels <= MN_WIDTH / 2) {
        if (ending == MN_SWISH) mn_stem_half_swish(c);
        else mn_stem_half(c);
        return;
    }
#endif
    (void)channels;
    columns[stem][ending][panels - 1](c);
}

/* Output row oy, `panels` panels of group g from the n-th on. */
static void mn_conv_panels(const mn_step *s, const float *x, ptrdiff_t oy, ptrdiff_t g, ptrdiff_t n, ptrdiff_t panels,
                           float *const *y, ptrdiff_t stride)
{
    const ptrdiff_t depth = s->in[0].c / s->groups, per_group = mn_ceil_div(s->out.c / s->groups, MN_WIDTH);
    const ptrdiff_t size = s->kh * s->kw * depth * MN_WIDTH, panel = g * per_group + n, iy = oy * s->sh - s->pt;
    const mn_conv_row c = {
        s, x, s->constant[0] + panel * size, s->constant[1] + panel * MN_WIDTH, y, stride, iy,
        iy < 0 ? mn_ceil_div(-iy, s->dh) : 0,
        s->in[0].h <= iy ? 0 : mn_least(s->kh, mn_ceil_div(s->in[0].h - iy, s->dh)),
        g * depth, depth, size, mn_clamp_of(s->activation),
    };
    mn_conv_columns(&c, panels, s->out.c / s->groups - n * MN_WIDTH);
}

/* Lanes of a group need not begin or end with a vector: one panel of a row goes through the workspace. */
static void mn_conv_group(const mn_step *s, const mn_views *v, ptrdiff_t oy, ptrdiff_t g)
{
    const ptrdiff_t width = s->out.c / s->groups;
    for (ptrdiff_t n = 0; n * MN_WIDTH < width; n++) {
        mn_conv_panels(s, v->x[0], oy, g, n, 1, &v->workspace, MN_WIDTH);
        mn_finish(v->workspace, s->out.w * MN_WIDTH, s->activation);
        for (ptrdiff_t i = 0; i < mn_least(MN_WIDTH, width - n * MN_WIDTH); i++) {
            float *lane = mn_lanes(v->y, mn_plane(&s->out), g * width + n * MN_WIDTH + i) + oy * s->out.w * MN_BLOCK;
            for (ptrdiff_t ox = 0; ox < s->out.w; ox++) lane[ox * MN_BLOCK] = v->workspace[ox * MN_WIDTH + i];
        }
    }
}

static ptrdiff_t mn_row_tasks(const mn_step *s) { return s->out.h; }

static void mn_conv2d_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const ptrdiff_t plane = mn_plane(&s->out), panels = mn_ceil_div(s->out.c, MN_WIDTH);
    float *y = v->y + task * s->out.w * MN_BLOCK;
    if (s->groups > 1) {
        for (ptrdiff_t g = 0; g < s->groups; g++) mn_conv_group(s, v, task, g);
        return;
    }
    for (ptrdiff_t n = 0; n < panels; n += MN_CONV_PANELS) {
        float *const lanes[] = {mn_lanes(y, plane, n * MN_WIDTH), mn_lanes(y, plane, (n + 1) * MN_WIDTH)};
        mn_conv_panels(s, v->x[0], task, 0, n, mn_least(panels - n, MN_CONV_PANELS), lanes, MN_BLOCK);
    }
    for (ptrdiff_t b = 0; b < mn_blocks(s->out.c); b++) mn_finish(y + b * plane, s->out.w * MN_BLOCK, s->activation);
}
