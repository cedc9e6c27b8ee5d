/* elementwise.c: y = f(x), y = min(max(x, low), high), y = f(a + b), and y[p][c] = x[p][c] gate[c] (channel scaling).
 *
 * Promise: y may be the same memory as an input.
 */

/* The first three are cut into runs of this many floats: 64 KB, a little task. */
#define MN_RUN 16384

static ptrdiff_t mn_elementwise_tasks(const mn_step *s) { return mn_ceil_div(mn_floats(&s->out), MN_RUN); }

static void mn_activation_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const ptrdiff_t end = mn_least(mn_floats(&s->out), (task + 1) * MN_RUN);
    for (ptrdiff_t i = task * MN_RUN; i < end; i += MN_WIDTH)
        mn_store(v->y + i, mn_activate(s->activation, mn_load(v->x[0] + i)));
}

/* constant: 0 low, high. */
static void mn_clip_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const mn_clamp bounds = {mn_set(s->constant[0][0]), mn_set(s->constant[0][1])};
    const ptrdiff_t end = mn_least(mn_floats(&s->out), (task + 1) * MN_RUN);
    for (ptrdiff_t i = task * MN_RUN; i < end; i += MN_WIDTH)
        mn_store(v->y + i, mn_clamped(bounds, mn_load(v->x[0] + i)));
}

static void mn_add_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const ptrdiff_t end = mn_least(mn_floats(&s->out), (task + 1) * MN_RUN);
    for (ptrdiff_t i = task * MN_RUN; i < end; i += MN_WIDTH)
        mn_store(v->y + i, mn_activate(s->activation, mn_add(mn_load(v->x[0] + i), mn_load(v->x[1] + i))));
}

/* One block of channels: the gate's vector stays in a register while the pixels pass. */
MN_INLINE void mn_scale_block(const float *x, const float *gate, float *y, ptrdiff_t pixels)
{
    for (int i = 0; i < MN_BLOCK; i += MN_WIDTH) {
        const vf factor = mn_load(gate + i);
        for (ptrdiff_t p = 0; p < pixels; p++)
            mn_store(y + p * MN_BLOCK + i, mn_mul(mn_load(x + p * MN_BLOCK + i), factor));
    }
}

static ptrdiff_t mn_block_tasks(const mn_step *s) { return mn_blocks(s->out.c); }

static void mn_multiply_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const int gate = s->in[0].h == 1 && s->in[0].w == 1 ? 0 : 1;     /* which operand is (1, 1, c) */
    const ptrdiff_t plane = mn_plane(&s->out);
    mn_scale_block(v->x[1 - gate] + task * plane, v->x[gate] + task * MN_BLOCK, v->y + task * plane, s->out.h * s->out.w);
}
