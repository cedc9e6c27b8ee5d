/* kernels.h: every kernel, compiled for the instruction set whose file includes this, and their table.
 *
 * Before including it, a file defines MN_ISA_<SET> (which vec.h reads) and MN_TABLE, the name of the
 * table. All kernels are static: the table is the only symbol that leaves the file. A new kernel is a
 * line among the includes and a line in the table.
 */
#include <math.h>
#include <string.h>

#include "../mininet.h"

#include "../kernels/vec.h"

#include "../kernels/activation.c"
#include "../kernels/elementwise.c"
#include "../kernels/batch_norm.c"
#include "../kernels/tile.c"
#include "../kernels/pointwise.c"
#include "../kernels/window.c"
#include "../kernels/depthwise.c"
#include "../kernels/conv2d.c"
#include "../kernels/fused_depthwise.c"
#include "../kernels/pool.c"
#include "../kernels/softmax.c"
#include "../kernels/squeeze_excite.c"
#include "../kernels/layout.c"
#include "../kernels/peak.c"

/* Sets with narrow registers need no kernel for half blocks: their panels are no wider than half a block. */
#ifndef MN_HALF_KERNEL
#define MN_HALF_KERNEL mn_pointwise_f32
#define MN_HALF_SPLIT mn_pointwise_tasks
#endif

#define MN_ENTRIES(ENTRY)                                               \
    ENTRY(MN_CONV2D, mn_conv2d_f32, mn_row_tasks)                       \
    ENTRY(MN_DEPTHWISE, mn_depthwise_f32, mn_block_tasks)               \
    ENTRY(MN_POINTWISE, mn_pointwise_f32, mn_pointwise_tasks)           \
    ENTRY(MN_POINTWISE_HALF, MN_HALF_KERNEL, MN_HALF_SPLIT)             \
    ENTRY(MN_EXPAND_DEPTHWISE, mn_expand_depthwise_f32, mn_block_tasks) \
    ENTRY(MN_CONV_DEPTHWISE, mn_conv_depthwise_f32, mn_block_tasks)     \
    ENTRY(MN_BATCH_NORM, mn_batch_norm_f32, mn_block_tasks)             \
    ENTRY(MN_ACTIVATION, mn_activation_f32, mn_elementwise_tasks)       \
    ENTRY(MN_CLIP, mn_clip_f32, mn_elementwise_tasks)                   \
    ENTRY(MN_SOFTMAX, mn_softmax_f32, mn_pixel_tasks)                   \
    ENTRY(MN_ADD, mn_add_f32, mn_elementwise_tasks)                     \
    ENTRY(MN_MULTIPLY, mn_multiply_f32, mn_block_tasks)                 \
    ENTRY(MN_GLOBAL_AVG_POOL, mn_global_avg_pool_f32, mn_block_tasks)   \
    ENTRY(MN_GLOBAL_MAX_POOL, mn_global_max_pool_f32, mn_block_tasks)   \
    ENTRY(MN_AVG_POOL, mn_avg_pool_f32, mn_block_tasks)                 \
    ENTRY(MN_SQUEEZE_EXCITE, mn_squeeze_excite_f32, mn_one_task)        \
    ENTRY(MN_TO_BLOCKED, mn_to_blocked_f32, mn_in_block_tasks)          \
    ENTRY(MN_TO_PLANAR, mn_to_planar_f32, mn_in_block_tasks)

#define MN_KERNEL_ENTRY(id, kernel, split) [id] = kernel,
#define MN_SPLIT_ENTRY(id, kernel, split) [id] = split,

const mn_isa MN_TABLE = {
    MN_ISA_NAME,
    MN_WIDTH,
    MN_PEAK_SUMS * MN_WIDTH,
    mn_fma_burst,
    {MN_ENTRIES(MN_KERNEL_ENTRY)},
    {MN_ENTRIES(MN_SPLIT_ENTRY)},
};
