/* kernels.h: every kernel, compiled for the instruction set whose file includes this, and their table.
 *
 * Before including it, a file defines MN_ISA_<SET> (which vec.h reads) and MN_TABLE, the name of the
 * table. All kernels are static: the table is the only symbol that leaves the file. A new kernel is a
 * line among the includes and a line in the table.
 *
 * A set whose registers hold a whole block may define MN_HALF, the table of one with registers half as wide: what is at
 * most half a block goes there if the plan says so. Sets with narrow registers compute no more than that in vain anyway.
 */
#include <math.h>
#include <string.h>

#include "../mininet.h"

#include "../kernels/vec.h"

#ifdef MN_HALF
extern const mn_isa MN_HALF;
#endif

#include "../kernels/activation.c"
#include "../kernels/elementwise.c"
#include "../kernels/batch_norm.c"
#include "../kernels/tile.c"
#include "../kernels/pointwise.c"
#include "../kernels/pool.c"

/* What does some rows of a 1x1 convolution. */
#ifdef MN_HALF
#define mn_rows_of(s) ((s)->kernel == MN_POINTWISE_HALF ? MN_HALF.pointwise_rows : mn_pointwise_rows)
#else
#define mn_rows_of(s) mn_pointwise_rows
#endif

#include "../kernels/window.c"
#include "../kernels/depthwise.c"
#include "../kernels/conv2d.c"
#include "../kernels/fused_depthwise.c"
#include "../kernels/turns.c"
#include "../kernels/softmax.c"
#include "../kernels/layout.c"
#include "../kernels/peak.c"

#ifdef MN_HALF
static void mn_pointwise_f32_half(const mn_step *s, const mn_views *v, ptrdiff_t first, ptrdiff_t last)
{
    MN_HALF.kernel[MN_POINTWISE](s, v, first, last);
}
static ptrdiff_t mn_pointwise_half_tasks(const mn_step *s) { return MN_HALF.split[MN_POINTWISE](s); }
#else
#define mn_pointwise_f32_half mn_pointwise_f32
#define mn_pointwise_half_tasks mn_pointwise_tasks
#endif

/* A kernel whose tasks have nothing in common does them one by one. */
#define MN_EACH(KERNEL)                                                                                         \
    static void KERNEL##_each(const mn_step *s, const mn_views *v, ptrdiff_t first, ptrdiff_t last)             \
    {                                                                                                           \
        for (ptrdiff_t task = first; task < last; task++) KERNEL(s, v, task);                                   \
    }

MN_EACH(mn_conv2d_f32)
MN_EACH(mn_batch_norm_f32)
MN_EACH(mn_activation_f32)
MN_EACH(mn_clip_f32)
MN_EACH(mn_softmax_f32)
MN_EACH(mn_add_f32)
MN_EACH(mn_multiply_f32)
MN_EACH(mn_global_avg_pool_f32)
MN_EACH(mn_global_max_pool_f32)
MN_EACH(mn_avg_pool_f32)
MN_EACH(mn_to_blocked_f32)
MN_EACH(mn_to_planar_f32)

#define MN_ENTRIES(ENTRY)                                               \
    ENTRY(MN_CONV2D, mn_conv2d_f32_each, mn_row_tasks)                                 \
    ENTRY(MN_DEPTHWISE, mn_depthwise_f32, mn_window_tasks)                             \
    ENTRY(MN_POINTWISE, mn_pointwise_f32, mn_pointwise_tasks)                          \
    ENTRY(MN_POINTWISE_HALF, mn_pointwise_f32_half, mn_pointwise_half_tasks)           \
    ENTRY(MN_EXPAND_DEPTHWISE, mn_expand_depthwise_f32, mn_window_tasks)               \
    ENTRY(MN_CONV_DEPTHWISE, mn_conv_depthwise_f32, mn_window_tasks)                   \
    ENTRY(MN_BATCH_NORM, mn_batch_norm_f32_each, mn_block_tasks)                       \
    ENTRY(MN_ACTIVATION, mn_activation_f32_each, mn_elementwise_tasks)                 \
    ENTRY(MN_CLIP, mn_clip_f32_each, mn_elementwise_tasks)                             \
    ENTRY(MN_SOFTMAX, mn_softmax_f32_each, mn_pixel_tasks)                             \
    ENTRY(MN_ADD, mn_add_f32_each, mn_elementwise_tasks)                               \
    ENTRY(MN_MULTIPLY, mn_multiply_f32_each, mn_block_tasks)                           \
    ENTRY(MN_GLOBAL_AVG_POOL, mn_global_avg_pool_f32_each, mn_block_tasks)             \
    ENTRY(MN_GLOBAL_MAX_POOL, mn_global_max_pool_f32_each, mn_block_tasks)             \
    ENTRY(MN_AVG_POOL, mn_avg_pool_f32_each, mn_block_tasks)                           \
    ENTRY(MN_TO_BLOCKED, mn_to_blocked_f32_each, mn_in_block_tasks)                    \
    ENTRY(MN_TO_PLANAR, mn_to_planar_f32_each, mn_in_block_tasks)

#define MN_KERNEL_ENTRY(id, kernel, split) [id] = kernel,
#define MN_SPLIT_ENTRY(id, kernel, split) [id] = split,

const mn_isa MN_TABLE = {
    MN_ISA_NAME,
    MN_WIDTH,
    MN_PEAK_SUMS * MN_WIDTH,
    mn_fma_burst,
    {MN_ENTRIES(MN_KERNEL_ENTRY)},
    {MN_ENTRIES(MN_SPLIT_ENTRY)},
    {
        [MN_DEPTHWISE] = mn_depthwise_part,
        [MN_EXPAND_DEPTHWISE] = mn_expand_depthwise_part,
        [MN_CONV_DEPTHWISE] = mn_conv_depthwise_part,
    },
    mn_pointwise_rows,
};
