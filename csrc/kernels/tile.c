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
    ptrdiff_t pixel, rate;          /* pixels before the first one; bytes to fetch ahead: see mn_rate */
} mn_product;

/* While a panel is multiplied with all pixels, as many bytes as it has are fetched ahead, spread evenly, since a burst
 * would take the buffers that the multiply-adds load through: how many with each pixel and k, in 65536ths. */
MN_INLINE ptrdiff_t mn_rate(ptrdiff_t pixels) { return ((ptrdiff_t)sizeof(float) * MN_WIDTH << 16) / pixels; }

MN_INLINE int mn_product_ending(const mn_product *p) { return p->residual != NULL ? MN_RESIDUAL : mn_ending(p->activation); }

MN_INLINE vf mn_end_product(const int ending, const mn_product *p, vf x, const float *y)
{
    return ending == MN_RESIDUAL ? mn_add(x, mn_load(p->residual + (y - p->y))) : mn_end(ending, p->clamp, x);
}

/* The products of `rows` pixels from x on with `panels` panels from w on, for one k. */
#define MN_ADD_PRODUCTS(x, w)                                                                                \
    {                                                                                                        \
        vf weight[MN_PANELS];                                                                                \
        mn_no_load_ahead();                                                                                  \
        MN_UNROLL for (int j = 0; j < panels; j++) weight[j] = mn_load((w) + j * panel);                     \
        MN_UNROLL for (int r = 0; r < rows; r++) {                                                           \
            const vf value = mn_set((x)[r * MN_BLOCK]);                                                      \
            if (panels == 1) mn_add_single_product(sum[r][0], value, weight[0]);                             \
            else MN_UNROLL for (int j = 0; j < panels; j++) mn_add_product(sum[r][j], value, weight[j]);     \
        }                                                                                                    \
    }

/* The micro-kernel: `rows` pixels x `panels` panels of sums live in registers while k runs. A pixel of a block is one cache
 * line, so all x of a step are at fixed distances from one pointer. rows and panels are constants at every call, which the
 * unrolling needs. MN_TERMS divides MN_BLOCK: k runs in steps of as many, to spend few instructions on anything else, and in
 * a single loop, as the processor cannot foresee the end of one within another. Panel j of pixel 0 goes to y[j] + at.
 *
 * x may lie in L2, or in that of the core that wrote it: each turn fetches some of the x that are wanted next. If a tile
 * reads few channels these are those of the tile that follows, else those two blocks on: L1 must hold the panels, too. */
#define MN_TERMS 4
#define MN_FEW 96

MN_INLINE void mn_tile(const int rows, const int panels, const int ending, const mn_product *p, const float *x, const float *w,
                       const float *bias, float *const *y, ptrdiff_t at, const char *ahead, ptrdiff_t ahead_step)
{
    vf sum[MN_THIN_ROWS][MN_PANELS];
    const ptrdiff_t panel = p->k * MN_WIDTH, lines = mn_ceil_div(rows * MN_TERMS, MN_BLOCK);
    const float *next_x = x + (p->k < MN_FEW ? rows * MN_BLOCK : 2 * p->xblock);
    ptrdiff_t k = 0;
    MN_UNROLL for (int r = 0; r < rows; r++)
        MN_UNROLL for (int j = 0; j < panels; j++) sum[r][j] = mn_load(bias + j * MN_WIDTH);
    for (; k + MN_TERMS <= p->k; k += MN_TERMS, w += MN_TERMS * MN_WIDTH, ahead += ahead_step) {
        const int last = k % MN_BLOCK == MN_BLOCK - MN_TERMS;       /* of a block */
        mn_fetch_to_l2(ahead);
        mn_fetch_to_l2(ahead + (ahead_step >> 1));
        MN_UNROLL for (int i = 0; i < lines; i++) mn_fetch_to_l1(next_x + i * MN_BLOCK);
        MN_UNROLL for (int i = 0; i < MN_TERMS; i++) MN_ADD_PRODUCTS(x + i, w + i * MN_WIDTH);
        x += last ? p->xblock - MN_BLOCK + MN_TERMS : MN_TERMS;
        next_x += last ? p->xblock - (MN_BLOCK / MN_TERMS - 1) * lines * MN_BLOCK : lines * MN_BLOCK;
    }
    for (; k < p->k; k++, x++, w += MN_WIDTH) MN_ADD_PRODUCTS(x, w);
    MN_UNROLL for (int r = 0; r < rows; r++)
        MN_UNROLL for (int j = 0; j < panels; j++) {
            float *to = y[j] + at + r * MN_BLOCK;
            mn_store(to, mn_end_product(ending, p, sum[r][j], to));
        }
}

#define MN_TILE_CASE(R, P, E) case R: mn_tile(R, P, E, p, x, w, bias, y, at, ahead, step); break;

/* `rows` pixels by P panels, tile after tile. Pixels are dealt out evenly (10 = 5 + 5, not 7 + 3), since a thin tile
 * is a slow one. Each fetches its part of what lies MN_AHEAD of the P panels, at most two lines for MN_TERMS of k. */
#define MN_TILE_FUNCTION(NAME, P, E, ROWS, CASES)                                                               \
    static MN_NOINLINE void NAME(ptrdiff_t rows, const mn_product *p, const float *x, const float *w,           \
                                 const float *bias, float *const *y)                                            \
    {                                                                                                           \
        const ptrdiff_t tiles = mn_ceil_div(rows, ROWS), least = rows / tiles, more = rows % tiles;             \
        ptrdiff_t at = 0, pixel = p->pixel;                                                                     \
        for (ptrdiff_t t = 0; t < tiles; t++) {                                                                 \
            const ptrdiff_t count = least + (t < more);                                                         \
            const ptrdiff_t step = mn_least(128, MN_TERMS * (P) * p->rate * count >> 16);                       \
            const char *ahead = (const char *)(w + MN_AHEAD) + ((P) * p->rate * p->k * pixel >> 16);            \
            switch (count) { CASES(MN_TILE_CASE, P, E) default: break; }                                        \
            x += count * MN_BLOCK, at += count * MN_BLOCK, pixel += count;                                      \
        }                                                                                                       \
    }

#define MN_TILE_FUNCTIONS(P, ROWS, CASES)                                                                       \
    MN_TILE_FUNCTION(mn_tiles_##P, P, MN_CLAMP, ROWS, CASES)                                                    \
    MN_TILE_FUNCTION(mn_tiles_##P##_swish, P, MN_SWISH, ROWS, CASES)                                            \
    MN_TILE_FUNCTION(mn_tiles_##P##_residual, P, MN_RESIDUAL, ROWS, CASES)

MN_TILE_FUNCTIONS(1, MN_THIN_ROWS, MN_THIN_CASES)
MN_TILE_FUNCTIONS(2, MN_ROWS, MN_CASES)
#if MN_PANELS == 4
MN_TILE_FUNCTIONS(3, 8, MN_TO_8)
MN_TILE_FUNCTIONS(4, 6, MN_TO_6)
#define MN_TILES(ENDING) {mn_tiles_1##ENDING, mn_tiles_2##ENDING, mn_tiles_3##ENDING, mn_tiles_4##ENDING}
#else
#define MN_TILES(ENDING) {mn_tiles_1##ENDING, mn_tiles_2##ENDING}
#endif

typedef void (*mn_tiles)(ptrdiff_t rows, const mn_product *p, const float *x, const float *w, const float *bias, float *const *y);

static const mn_tiles mn_tiles_of[MN_ENDINGS][MN_PANELS] = {MN_TILES(), MN_TILES(_swish), MN_TILES(_residual)};

/* One pixel: a linear layer. Each weight is used once, so memory is the limit; the processor sees the streams and fetches
 * ahead by itself, faster than by instructions that take turns with the loads. Sums in flight hide the latency:
 * `panels` panels, each in MN_PARTS partial sums over every MN_PARTS-th k. That also keeps the rounding error of a
 * thousand terms near that of a few hundred. Only here does the order of a sum differ from the one above. */
#define MN_PARTS 4

MN_INLINE void mn_single(const int panels, const mn_product *p, const float *x, const float *w, const float *bias, float *const *y)
{
    vf sum[MN_SINGLE_PANELS][MN_PARTS];
    const ptrdiff_t panel = p->k * MN_WIDTH;
    MN_UNROLL for (int j = 0; j < panels; j++)
        MN_UNROLL for (int q = 0; q < MN_PARTS; q++) sum[j][q] = q ? mn_set(0.0f) : mn_load(bias + j * MN_WIDTH);
    for (ptrdiff_t left = p->k; left > 0; left -= MN_BLOCK, x += p->xblock) {
        const ptrdiff_t n = mn_least(left, MN_BLOCK);
        ptrdiff_t i = 0;
        for (; i + MN_PARTS <= n; i += MN_PARTS, w += MN_PARTS * MN_WIDTH)
            MN_UNROLL for (int q = 0; q < MN_PARTS; q++)
                MN_UNROLL for (int j = 0; j < panels; j++) {
                    const float *weight = w + j * panel + q * MN_WIDTH;
                    sum[j][q] = mn_fma(mn_set(x[i + q]), mn_load(weight), sum[j][q]);
                }
        for (; i < n; i++, w += MN_WIDTH)
            MN_UNROLL for (int j = 0; j < panels; j++) sum[j][0] = mn_fma(mn_set(x[i]), mn_load(w + j * panel), sum[j][0]);
    }
    MN_UNROLL for (int j = 0; j < panels; j++) {
        const vf total = mn_add(mn_add(sum[j][0], sum[j][1]), mn_add(sum[j][2], sum[j][3]));
        mn_store(y[j], mn_end_product(mn_product_ending(p), p, total, y[j]));
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

/* `rows` pixels by `panels` panels, the first of which holds output channel c. Panels outside, pixels inside: a
 * panel (k vectors) stays in cache while all pixels stream past it. */
static void mn_multiply_panels(const mn_product *p, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t panels, const float *x,
                               const float *w, const float *bias, float *y)
{
    const mn_tiles *const tiles = mn_tiles_of[mn_product_ending(p)];
    for (; panels > 0; panels -= MN_PANELS, c += MN_PANELS * MN_WIDTH) {
        const ptrdiff_t now = mn_least(panels, MN_PANELS);
        float *lanes[MN_PANELS];
        for (int j = 0; j < now; j++) lanes[j] = mn_lanes(y, p->yblock, c + j * MN_WIDTH);
        tiles[now - 1](rows, p, x, w, bias, lanes);
        w += MN_PANELS * p->k * MN_WIDTH, bias += MN_PANELS * MN_WIDTH;
    }
}
