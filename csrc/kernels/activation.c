/* activation.c: the functions that every kernel ends with.
 *
 * relu(x) = max(x, 0); relu6(x) = min(max(x, 0), 6); hard_sigmoid(x) = relu6(x + 3) / 6;
 * hard_swish(x) = x hard_sigmoid(x); sigmoid(x) = 1 / (1 + exp(-x)). A NaN comes out as a NaN.
 */

/* identity, relu and relu6 are one thing, min(max(x, low), high), which costs a kernel two instructions while the
 * result is in a register. hard_swish has its limits there, too: see mn_swish_of_scaled. */
typedef struct {
    vf low, high;
} mn_clamp;

MN_INLINE mn_clamp mn_clamp_of(mn_activation f)
{
    const float swish = 1.2247448713915890f;                            /* sqrt(6) / 2 */
    const float low = f == MN_HARD_SWISH ? -swish : f == MN_RELU || f == MN_RELU6 ? 0.0f : -INFINITY;
    const float high = f == MN_HARD_SWISH ? swish : f == MN_RELU6 ? 6.0f : INFINITY;
    const mn_clamp clamp = {mn_set(low), mn_set(high)};
    return clamp;
}

MN_INLINE vf mn_clamped(mn_clamp c, vf x) { return mn_min(c.high, mn_max(c.low, x)); }

MN_INLINE vf mn_relu6(vf x) { return mn_min(mn_set(6.0f), mn_max(mn_set(0.0f), x)); }

/* x / 6 without a division: 1/6 rounded to a float is 3e-8 too large, which adds up over a network, so what
 * rounding took away is put back. */
MN_INLINE vf mn_sixth(vf x)
{
    const float high = 1.0f / 6.0f;
    return mn_fma(x, mn_set(high), mn_mul(x, mn_set((float)(1.0 / 6.0 - (double)high))));
}

MN_INLINE vf mn_hard_sigmoid(vf x) { return mn_sixth(mn_relu6(mn_add(x, mn_set(3.0f)))); }

static vf mn_sigmoid(vf x)
{
    float lane[MN_WIDTH];
    mn_store(lane, x);
    for (int i = 0; i < MN_WIDTH; i++) lane[i] = 1.0f / (1.0f + expf(-lane[i]));
    return mn_load(lane);
}

MN_INLINE vf mn_activate(mn_activation f, vf x)
{
    switch (f) {
    case MN_HARD_SIGMOID: return mn_hard_sigmoid(x);
    case MN_HARD_SWISH: return mn_mul(x, mn_hard_sigmoid(x));
    case MN_SIGMOID: return mn_sigmoid(x);
    default: return mn_clamped(mn_clamp_of(f), x);
    }
}

/* How a kernel ends: these are done in registers (`ending` is a constant there), the rest is left to mn_finish.
 * MN_RESIDUAL adds a residual to a result that has no activation; only the matrix product knows it. */
enum { MN_CLAMP, MN_SWISH, MN_RESIDUAL, MN_ENDINGS };

MN_INLINE int mn_ending(mn_activation f) { return f == MN_HARD_SWISH ? MN_SWISH : MN_CLAMP; }

/* hard_swish(x) of v = x / sqrt(6), which is what a convolution yields that ends so: its weights and bias are divided by sqrt(6)
 * beforehand (ops/activation.py). Since x min(max(x + 3, 0), 6) / 6 = v (min(max(v, -h), h) + h) where h is sqrt(6) / 2, that
 * takes one multiplication instead of three, and no more registers than a clamp. */
MN_INLINE vf mn_swish_of_scaled(mn_clamp c, vf v) { return mn_mul(v, mn_add(mn_clamped(c, v), c.high)); }

MN_INLINE vf mn_end(const int ending, mn_clamp clamp, vf x)
{
    return ending == MN_SWISH ? mn_swish_of_scaled(clamp, x) : mn_clamped(clamp, x);
}

MN_INLINE int mn_needs_finish(mn_activation f) { return f == MN_HARD_SIGMOID || f == MN_SIGMOID; }

static MN_NOINLINE void mn_activate_all(float *y, ptrdiff_t count, mn_activation f)
{
    for (ptrdiff_t i = 0; i < count; i += MN_WIDTH) mn_store(y + i, mn_activate(f, mn_load(y + i)));
}

/* What was not done in registers, on floats that have just been written and are still in L1. `count` is a multiple
 * of MN_WIDTH. */
MN_INLINE void mn_finish(float *y, ptrdiff_t count, mn_activation f)
{
    if (mn_needs_finish(f)) mn_activate_all(y, count, f);
}
