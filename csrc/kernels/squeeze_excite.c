/* squeeze_excite.c: y[p][c] = x[p][c] gate[c], gate = g(b2 + W2 f(b1 + W1 mean(x))).
 *
 * constant: 0, 1 panels and bias of W1 (c -> hidden); 2, 3 those of W2 (hidden -> c). workspace: mean, squeezed,
 * gate. One task: the gate needs every pixel, and is little work.
 */

static ptrdiff_t mn_one_task(const mn_step *s) { (void)s; return 1; }

static void mn_squeeze_excite_f32(const mn_step *s, const mn_views *v, ptrdiff_t task)
{
    const ptrdiff_t blocks = mn_blocks(s->out.c), hidden = mn_blocks(s->hidden) * MN_BLOCK, plane = mn_plane(&s->out);
    float *mean = v->workspace, *squeezed = mean + blocks * MN_BLOCK, *gate = squeezed + hidden;
    const mn_product reduce = {s->out.c, MN_BLOCK, MN_BLOCK, s->activation, NULL, NULL};
    const mn_product expand = {s->hidden, MN_BLOCK, MN_BLOCK, s->gate, NULL, NULL};
    (void)task;
    for (ptrdiff_t b = 0; b < blocks; b++) mn_mean_block(v->x[0] + b * plane, &s->in[0], mean + b * MN_BLOCK);
    mn_multiply_single(&reduce, 0, mn_ceil_div(s->hidden, MN_WIDTH), mean, s->constant[0], s->constant[1], squeezed);
    mn_finish(squeezed, hidden, s->activation);
    mn_multiply_single(&expand, 0, mn_ceil_div(s->out.c, MN_WIDTH), squeezed, s->constant[2], s->constant[3], gate);
    mn_finish(gate, blocks * MN_BLOCK, s->gate);
    for (ptrdiff_t b = 0; b < blocks; b++)
        mn_scale_block(v->x[0] + b * plane, gate + b * MN_BLOCK, v->y + b * plane, s->out.h * s->out.w);
}
