/* tile.c: the matrix product in small pieces: every 1x1 convolution and linear layer is made of them.
 *
 *   y[m][n] = f(bias[n] + sum_k x[m][k] w[k][n])     m: pixels, k: input, n: output channels
 *
 * x and y are blocked (block of channels, pixel, channel in the block); w comes in panels of MN_WIDTH
 * output channels, [panel][k][WIDTH]. Each sum runs over k in order, one FMA after the other, whatever
 * the tile (a single pixel apart: see below): the result does not depend on how the work was cut.
 */

/* Everything about a matrix product that does not change from tile to tile. */
typedef struct {
    ptrdiff_t k;                    /* input channels */
    ptrdiff_t xblock, yblock;       /* floats from one block of channels to the next */
    mn_activation activation;
    mn_clamp clamp;                 /* of the activation; in memory, since the sums need all registers */
    const float *residual, *y;      /* what is added to y, laid out like it from its first float on; or NULL */
    const ptrdiff_t *places;        /* where each pixel goes, in floats from the first one on; NULL: side by side, as they come */
    ptrdiff_t pixel, rate;          /* pixels before the first one; bytes to fetch ahead: see mn_rate */
} mn_product;

/* While a panel is multiplied with all pixels, as many bytes as it has are fetched ahead, spread evenly, since a burst
 * would take the buffers that the multiply-adds load through: how many with each pixel and k, in 65536ths. */
MN_INLINE ptrdiff_t mn_rate(ptrdiff_t pixels) { return ((ptrdiff_t)sizeof(float) * MN_WIDTH << 16) / pixels; }

MN_INLINE int mn_product_ending(const mn_product *p) { return p->residual != NULL ? MN_RESIDUAL : mn_ending(p->activation); }

MN_INLINE vf mn_end_product(const int ending, const mn_product *p, mn_clamp clamp, vf x, const float *y)
{
    return ending == MN_RESIDUAL ? mn_add(x, mn_load(p->residual + (y - p->y))) : mn_end(ending, clamp, x);
}

/* The same for two pixels that share a register. */
MN_INLINE vf mn_end_shared(const int ending, const mn_product *p, mn_clamp clamp, vf x, const float *y)
{
    if (ending != MN_RESIDUAL) return mn_end(ending, clamp, x);
    const float *residual = p->residual + (y - p->y);
    return mn_add(x, mn_load_shared(residual, residual + MN_BLOCK));
}

/* The products of `rows` pixels from x on with `panels` panels from w on, and half a panel more if `half`, for one k; and what
 * follows each pixel r. */
#define MN_ADD_PRODUCTS(x, w, AND)                                                                           \
    {                                                                                                        \
        vf weight[MN_PANELS], left = mn_set(0.0f);                                                           \
        mn_no_load_ahead();                                                                                  \
        MN_UNROLL for (int j = 0; j < panels; j++) weight[j] = mn_load((w) + j * panel);                     \
        const vf twice = mn_load_twice((w) + (half ? panels * panel : 0));                                   \
        MN_UNROLL for (int r = 0; r < rows; r++) {                                                           \
            const vf value = mn_set((x)[r * MN_BLOCK]);                                                      \
            if (panels == 1 && !half) mn_add_single_product(sum[r][0], value, weight[0]);                    \
            else MN_UNROLL for (int j = 0; j < panels; j++) mn_add_product(sum[r][j], value, weight[j]);     \
            if (half && r % 2 == 1) mn_add_product(shared[r / 2], mn_share(left, value), twice);             \
            left = value;                                                                                    \
            AND                                                                                              \
        }                                                                                                    \
    }

/* What follows the last product of a pixel: its results leave while the next one is computed, so that no multiply-add waits for
 * them. There is room for the clamp as soon as the first x is done with. */
#define MN_END_PIXEL                                                                                         \
    if (r == 0) {                                                                                            \
        mn_no_load_ahead();                                                                                  \
        clamp = p->clamp;                                                                                    \
    }                                                                                                        \
    MN_UNROLL for (int j = 0; j < panels; j++) {                                                             \
        float *to = lanes[j] + places[r];                                                                    \
        mn_store(to, mn_end_product(ending, p, clamp, sum[r][j], to));                                       \
    }                                                                                                        \
    if (half && r % 2 == 1) {                                                                                \
        float *to = lanes[panels] + places[r - 1];                                                           \
        mn_store_shared(to, lanes[panels] + places[r], mn_end_shared(ending, p, clamp, shared[r / 2], to));  \
    }

/* The micro-kernel: `rows` pixels x `panels` panels of sums live in registers while k runs. A pixel of a block is one cache
 * line, so all x of a step are at fixed distances from one pointer. rows and panels are constants at every call, which the
 * unrolling needs. MN_TERMS divides MN_BLOCK: k runs in steps of as many, to spend few instructions on anything else, and in
 * a single loop, as the processor cannot foresee the end of one within another. Panel j of pixel r goes to y[j] + at + places[r].
 * If `half`, another panel follows of which at most half is wanted: there two pixels share a register, so `rows` is even.
 *
 * x may lie in L2, or in that of the core that wrote it: each turn fetches some of the x that are wanted next. If a tile
 * reads few channels these are those of the tile that follows, else those two blocks on: L1 must hold the panels, too. */
#define MN_TERMS 4
#define MN_FEW 96

MN_INLINE void mn_tile(const int rows, const int panels, const int half, const int ending, const mn_product *p, const float *x,
                       const float *w, const float *bias, float *const *y, ptrdiff_t at, const ptrdiff_t *places,
                       const char *ahead, ptrdiff_t ahead_step)
{
    vf sum[MN_THIN_ROWS][MN_PANELS], shared[MN_THIN_ROWS / 2];
    const ptrdiff_t panel = p->k * MN_WIDTH, lines = mn_ceil_div(rows * MN_TERMS, MN_BLOCK);
    const float *next_x = x + (p->k < MN_FEW ? rows * MN_BLOCK : 2 * p->xblock);
    ptrdiff_t k = 0;
    MN_UNROLL for (int r = 0; r < rows; r++)
        MN_UNROLL for (int j = 0; j < panels; j++) sum[r][j] = mn_load(bias + j * MN_WIDTH);
    MN_UNROLL for (int r = 0; r < rows; r++)
        if (half && r % 2 == 1) shared[r / 2] = mn_load_twice(bias + panels * MN_WIDTH);
    for (; k + MN_TERMS < p->k; k += MN_TERMS, w += MN_TERMS * MN_WIDTH, ahead += ahead_step) {
        const int last = k % MN_BLOCK == MN_BLOCK - MN_TERMS;       /* of a block */
        mn_fetch_to_l2(ahead);
        mn_fetch_to_l2(ahead + (ahead_step >> 1));
        MN_UNROLL for (int i = 0; i < lines; i++) mn_fetch_to_l1(next_x + i * MN_BLOCK);
        MN_UNROLL for (int i = 0; i < MN_TERMS; i++) MN_ADD_PRODUCTS(x + i, w + i * MN_WIDTH, );
        x += last ? p->xblock - MN_BLOCK + MN_TERMS : MN_TERMS;
        next_x += last ? p->xblock - (MN_BLOCK / MN_TERMS - 1) * lines * MN_BLOCK : lines * MN_BLOCK;
    }
    for (; k + 1 < p->k; k++, x++, w += MN_WIDTH) MN_ADD_PRODUCTS(x, w, );
    float *lanes[MN_PANELS];
    mn_clamp clamp = p->clamp;                      /* which the first pixel reads again, see above */
    MN_UNROLL for (int j = 0; j < panels + half; j++) lanes[j] = y[j] + at;
    MN_ADD_PRODUCTS(x, w, MN_END_PIXEL);
}

/* Places of the pixels of a tile whose results lie side by side. */
#define MN_PLACE(N, _) (N - 1) * MN_BLOCK,
static const ptrdiff_t mn_side_by_side[] = {MN_TO_14(MN_PLACE, )};

/* `rows` pixels of those at x, from the given one on, by P panels and HALF a one, tile after tile of at most MOST pixels, or pairs
 * of them. They are dealt out evenly (10 = 5 + 5, not 7 + 3), since a thin tile is a slow one. Each fetches its part of what lies
 * MN_AHEAD of the panels, at most two lines for MN_TERMS of k. */
#define MN_TILE_FUNCTION(NAME, P, HALF, E, MOST, CASES)                                                         \
    static MN_NOINLINE void NAME(ptrdiff_t from, ptrdiff_t rows, const mn_product *p, const float *x,           \
                                 const float *w, const float *bias, float *const *y)                            \
    {                                                                                                           \
        const ptrdiff_t units = rows / (1 + HALF), tiles = mn_ceil_div(units, MOST);                            \
        const ptrdiff_t least = units / tiles, more = units % tiles;                                            \
        ptrdiff_t pixel = p->pixel + from;                                                                      \
        x += from * MN_BLOCK;                                                                                   \
        for (ptrdiff_t t = 0; t < tiles; t++) {                                                                 \
            const ptrdiff_t count = (least + (t < more)) * (1 + HALF);                                          \
            const ptrdiff_t step = mn_least(128, MN_TERMS * (P + HALF) * p->rate * count >> 16);                \
            const char *ahead = (const char *)(w + MN_AHEAD) + ((P + HALF) * p->rate * p->k * pixel >> 16);     \
            const ptrdiff_t at = p->places == NULL ? from * MN_BLOCK : 0;                                       \
            const ptrdiff_t *places = p->places == NULL ? mn_side_by_side : p->places + from;                   \
            switch (count / (1 + HALF)) { CASES(MN_TILE_CASE, P, HALF, E) default: break; }                     \
            x += count * MN_BLOCK, from += count, pixel += count;                                               \
        }                                                                                                       \
    }
#define MN_TILE_CASE(N, P, HALF, E) \
    case N: mn_tile(N * (1 + HALF), P, HALF, E, p, x, w, bias, y, at, places, ahead, step); break;

#define MN_TILE_FUNCTIONS(NAME, P, HALF, MOST, CASES)                                                           \
    MN_TILE_FUNCTION(NAME, P, HALF, MN_CLAMP, MOST, CASES)                                                      \
    MN_TILE_FUNCTION(NAME##_swish, P, HALF, MN_SWISH, MOST, CASES)                                              \
    MN_TILE_FUNCTION(NAME##_residual, P, HALF, MN_RESIDUAL, MOST, CASES)

MN_TILE_FUNCTIONS(mn_tiles_1, 1, 0, MN_THIN_ROWS, MN_THIN_CASES)
MN_TILE_FUNCTIONS(mn_tiles_2, 2, 0, MN_ROWS, MN_CASES)
#if MN_PANELS >= 3
MN_TILE_FUNCTIONS(mn_tiles_3, 3, 0, 8, MN_TO_8)
#endif
#if MN_PANELS >= 4
MN_TILE_FUNCTIONS(mn_tiles_4, 4, 0, 6, MN_TO_6)
#endif
#if MN_SHARES
MN_TILE_FUNCTIONS(mn_tiles_1_half, 1, 1, 7, MN_TO_7)
MN_TILE_FUNCTIONS(mn_tiles_2_half, 2, 1, 4, MN_TO_4)
#endif

typedef void (*mn_tiles)(ptrdiff_t from, ptrdiff_t rows, const mn_product *p, const float *x, const float *w, const float *bias,
                         float *const *y);

#define MN_OF_ENDINGS(NAME) {NAME, NAME##_swish, NAME##_residual}

static const mn_tiles mn_tiles_of[MN_PANELS][MN_ENDINGS] = {
    MN_OF_ENDINGS(mn_tiles_1),
    MN_OF_ENDINGS(mn_tiles_2),
#if MN_PANELS >= 3
    MN_OF_ENDINGS(mn_tiles_3),
#endif
#if MN_PANELS >= 4
    MN_OF_ENDINGS(mn_tiles_4),
#endif
};

#if MN_SHARES
static const mn_tiles mn_shared_tiles_of[MN_PANELS - 1][MN_ENDINGS] = {
    MN_OF_ENDINGS(mn_tiles_1_half),
    MN_OF_ENDINGS(mn_tiles_2_half),
};
#endif

/* One pixel: a linear layer. Each weight is used once, so memory is the limit; the processor sees a stream and fetches ahead
 * by itself, faster than by instructions that take turns with the loads. It is one stream: MN_SINGLE_PANELS panels are done at
 * once, and interleaved, [k][panel][WIDTH]; those left over follow as everywhere. Sums in flight hide the latency: `panels`
 * panels, each in MN_PARTS partial sums over every MN_PARTS-th k. That also keeps the rounding error of a thousand terms near
 * that of a few hundred. Only here does the order of a sum differ from the one above. */
#define MN_PARTS 4

MN_INLINE void mn_single(const int panels, const mn_product *p, const float *x, const float *w, const float *bias, float *const *y)
{
    vf sum[MN_SINGLE_PANELS][MN_PARTS];
    const ptrdiff_t row = panels * MN_WIDTH;        /* of weights: those of one k */
    MN_UNROLL for (int j = 0; j < panels; j++)
        MN_UNROLL for (int q = 0; q < MN_PARTS; q++) sum[j][q] = q ? mn_set(0.0f) : mn_load(bias + j * MN_WIDTH);
    for (ptrdiff_t left = p->k; left > 0; left -= MN_BLOCK, x += p->xblock) {
        const ptrdiff_t n = mn_least(left, MN_BLOCK);
        ptrdiff_t i = 0;
        for (; i + MN_PARTS <= n; i += MN_PARTS, w += MN_PARTS * row)
            MN_UNROLL for (int q = 0; q < MN_PARTS; q++)
                MN_UNROLL for (int j = 0; j < panels; j++) {
                    const float *weight = w + q * row + j * MN_WIDTH;
                    sum[j][q] = mn_fma(mn_set(x[i + q]), mn_load(weight), sum[j][q]);
                }
        for (; i < n; i++, w += row)
            MN_UNROLL for (int j = 0; j < panels; j++) sum[j][0] = mn_fma(mn_set(x[i]), mn_load(w + j * MN_WIDTH), sum[j][0]);
    }
    MN_UNROLL for (int j = 0; j < panels; j++) {
        const vf total = mn_add(mn_add(sum[j][0], sum[j][1]), mn_add(sum[j][2], sum[j][3]));
        mn_store(y[j], mn_end_product(mn_product_ending(p), p, p->clamp, total, y[j]));
    }
}

static MN_NOINLINE void mn_single_1(const mn_product *p, const float *x, const float *w, const float *bias, float *const *y)
{
    mn_single(1, p, x, w, bias, y);
}

static MN_NOINLINE void mn_single_many(const mn_product *p, const float *x, const float *w, const float *bias, float *const *y)
{
    mn_single(MN_SINGLE_PANELS, p, x, w, bias, y);
}

/* Where the lanes of output channel c begin. */
MN_INLINE float *mn_lanes(float *y, ptrdiff_t yblock, ptrdiff_t c) { return y + c / MN_BLOCK * yblock + c % MN_BLOCK; }

/* `panels` panels of one pixel, the first of which holds output channel c. */
static void mn_multiply_single(const mn_product *p, ptrdiff_t c, ptrdiff_t panels, const float *x, const float *w,
                               const float *bias, float *y)
{
    while (panels > 0) {
        const ptrdiff_t now = panels >= MN_SINGLE_PANELS ? MN_SINGLE_PANELS : 1;
        float *lanes[MN_SINGLE_PANELS];
        for (int j = 0; j < now; j++) lanes[j] = mn_lanes(y, p->yblock, c + j * MN_WIDTH);
        if (now == 1) mn_single_1(p, x, w, bias, lanes);
        else mn_single_many(p, x, w, bias, lanes);
        w += now * p->k * MN_WIDTH, bias += now * MN_WIDTH, c += now * MN_WIDTH, panels -= now;
    }
}

/* How many of the panels that are left come next. Where three is the most, only the last of an odd number go in threes: two have
 * the larger tile. */
MN_INLINE ptrdiff_t mn_panels_now(ptrdiff_t panels)
{
    return MN_PANELS == 3 && panels != 3 ? mn_least(panels, 2) : mn_least(panels, MN_PANELS);
}

/* `rows` pixels by `channels` output channels from c on, where a panel begins. Panels outside, pixels inside: a panel (k vectors)
 * stays in cache while all pixels stream past it. */
static void mn_multiply_panels(const mn_product *p, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t channels, const float *x,
                               const float *w, const float *bias, float *y)
{
    const int ending = mn_product_ending(p);
    for (ptrdiff_t panels = mn_ceil_div(channels, MN_WIDTH), now; panels > 0; panels -= now, channels -= now * MN_WIDTH) {
        now = mn_panels_now(panels);
        float *lanes[MN_PANELS];
        for (int j = 0; j < now; j++) lanes[j] = mn_lanes(y, p->yblock, c + j * MN_WIDTH);
        ptrdiff_t done = 0;
#if MN_SHARES
        if (now == panels && now > 1 && now * MN_WIDTH - channels >= MN_WIDTH / 2) {
            done = rows - rows % 2;
            if (done > 0) mn_shared_tiles_of[now - 2][ending](0, done, p, x, w, bias, lanes);
        }
#endif
        if (done < rows) mn_tiles_of[now - 1][ending](done, rows - done, p, x, w, bias, lanes);
        w += now * p->k * MN_WIDTH, bias += now * MN_WIDTH, c += now * MN_WIDTH;
    }
}
