/* peak.c: as many multiply-adds as the machine can do, on nothing: the yardstick of all other kernels.
 *
 * Twelve independent sums hide the latency of an FMA; nothing is loaded, and stored once at the end: result takes
 * MN_PEAK_SUMS vectors.
 */
#define MN_PEAK_SUMS 12

static void mn_fma_burst(ptrdiff_t rounds, float *result)
{
    vf sum[MN_PEAK_SUMS];
    const vf factor = mn_set(0.5f), term = mn_set(1.0f);
    MN_UNROLL for (int i = 0; i < MN_PEAK_SUMS; i++) sum[i] = mn_set((float)i);
    for (; rounds > 0; rounds--) {
        MN_UNROLL for (int i = 0; i < MN_PEAK_SUMS; i++) sum[i] = mn_fma(sum[i], factor, term);
        MN_UNROLL for (int i = 0; i < MN_PEAK_SUMS; i++) mn_opaque(sum[i]);
    }
    MN_UNROLL for (int i = 0; i < MN_PEAK_SUMS; i++) mn_store(result + i * MN_WIDTH, sum[i]);
}
