/* SPDX-License-Identifier: Apache-2.0
 * Runs every kernel of the generated table on a device and through the reference, and compares:
 * outputs poisoned before, guard bands around every binding, bounds from the kernel's row. Fails
 * for a family without cases.
 *
 *   test_kernels [--seed N] [--disable LIST] [--no-validation] [--bench [--ms N]] [--every N [--turn I]]
 * [--verbose] [--emulate N] [NAME...]
 *
 * --every: of each kernel's cases the I-th of N; all where PUMICE_TEST_THOROUGH is set.
 * --emulate: only kernels with subgroups, of an emulated size (subgroups_vk.h).
 * NAME: only kernels whose name contains one of them. Exit 0 = all right, 1 = something is wrong,
 * 77 = no device. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel_case.h"
#include "subgroups_vk.h"
#include "vk.h"

/* As f32 a NaN, as f16 a NaN and a small number: reads outside of a range show up in the results.
 */
#define POISON 0x7fe5a5a5u
#define GUARD_BYTES 256u

enum { BENCH_BATCHES = 5 };

typedef struct tester {
    pum_vk_device *vk;
    const pum_caps *caps;
    const struct VolkDeviceTable *t;
    VkCommandPool commands;
    VkDescriptorPool descriptors;
    VkBufferView views[PUM_MAX_BINDINGS]; /* of the case's texel bindings */
    pum_vk_buffer memory;
    pum_vk_use use;
    uint64_t seed;
    uint32_t every, turn; /* of each kernel's cases those whose number modulo `every` is `turn` */
    bool verbose;
    uint32_t emulate; /* lanes of emulated subgroups, 0 = the device's own */
    double bench_ms;
    char *const *names;
    int n_names;
    unsigned cases, failures;
    double worst; /* largest error as a part of the bound, of the kernel under test */
} tester;

/* Where the bindings of a case lie in the device's memory. */
typedef struct layout {
    uint64_t offset[PUM_MAX_BINDINGS];
    uint64_t bytes;
} layout;

static bool vk_ok(tester *t, VkResult result, const char *what)
{
    pumice_error err = { 0 };
    if (result >= 0) return true;
    pum_vk_fail(t->vk, result, what, &err);
    printf("%s\n", err.text);
    return false;
}

static bool ok(pumice_status status, const pumice_error *err)
{
    if (status != PUMICE_OK) printf("%s\n", err->text);
    return status == PUMICE_OK;
}

static int bindings_of(const kernel_case *c) { return pum_kernels[c->kernel].n_bindings; }

static layout lay_out(const tester *t, const kernel_case *c)
{
    layout l = { .bytes = 0 };
    uint64_t align = PUM_MAX(t->caps->offset_align_bytes, 16u);
    for (int i = 0; i < bindings_of(c); i++) {
        const case_binding *b = &c->bind[i];
        if (!b->data) {
            l.offset[i] = l.offset[b->same_as];
            continue;
        }
        l.offset[i] = pum_align_up(l.bytes + GUARD_BYTES, align);
        l.bytes = l.offset[i] + b->bytes + GUARD_BYTES;
    }
    return l;
}

static bool make_room(tester *t, uint64_t bytes)
{
    pumice_error err = { 0 };
    if (t->memory.size_bytes >= bytes) return true;
    pum_vk_buffer_destroy(t->vk, &t->memory);
    bytes = pum_align_up(bytes, 1u << 20);
    return ok(pum_vk_buffer_create(t->vk, t->use, bytes, "kernel test", &t->memory, &err), &err);
}

/* ---- one dispatch, `repeats` times with a barrier between ---- */

static void drop_views(tester *t)
{
    for (int i = 0; i < PUM_MAX_BINDINGS; i++) {
        if (t->views[i]) t->t->vkDestroyBufferView(pum_vk_handle(t->vk), t->views[i], NULL);
        t->views[i] = VK_NULL_HANDLE;
    }
}

static bool make_view(tester *t, const VkDescriptorBufferInfo *range, VkBufferView *out_view)
{
    VkBufferViewCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                    .buffer = range->buffer,
                                    .format = VK_FORMAT_R32G32B32A32_UINT,
                                    .offset = range->offset,
                                    .range = range->range / PUM_TEXEL_BYTES * PUM_TEXEL_BYTES };
    return vk_ok(t, t->t->vkCreateBufferView(pum_vk_handle(t->vk), &info, NULL, out_view),
                 "buffer view");
}

static VkDescriptorSet bind_set(tester *t, const kernel_case *c, const layout *l,
                                const pum_vk_pipeline *p)
{
    VkDescriptorSet set = VK_NULL_HANDLE;
    VkDescriptorBufferInfo info[PUM_MAX_BINDINGS];
    VkWriteDescriptorSet write[PUM_MAX_BINDINGS];
    VkDescriptorSetAllocateInfo alloc = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                          .descriptorPool = t->descriptors,
                                          .descriptorSetCount = 1,
                                          .pSetLayouts = &p->set_layout };
    drop_views(t);
    t->t->vkResetDescriptorPool(pum_vk_handle(t->vk), t->descriptors, 0);
    if (!vk_ok(t, t->t->vkAllocateDescriptorSets(pum_vk_handle(t->vk), &alloc, &set),
               "descriptor set"))
        return set;
    for (int i = 0; i < bindings_of(c); i++) {
        info[i] = (VkDescriptorBufferInfo){ t->memory.buffer, l->offset[i], c->bind[i].bytes };
        write[i] = (VkWriteDescriptorSet){ .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                           .dstSet = set,
                                           .dstBinding = (uint32_t)i,
                                           .descriptorCount = 1,
                                           .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                           .pBufferInfo = &info[i] };
        if (pum_kernels[c->kernel].access[i] != PUM_ACCESS_TEXEL) continue;
        if (!make_view(t, &info[i], &t->views[i])) return VK_NULL_HANDLE;
        write[i].descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
        write[i].pTexelBufferView = &t->views[i];
    }
    t->t->vkUpdateDescriptorSets(pum_vk_handle(t->vk), (uint32_t)bindings_of(c), write, 0, NULL);
    return set;
}

static void record(tester *t, const kernel_case *c, const pum_vk_pipeline *p, VkDescriptorSet set,
                   uint32_t repeats, VkCommandBuffer cb)
{
    VkMemoryBarrier between = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                                .dstAccessMask =
                                    VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT };
    VkMemoryBarrier to_host = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                                .dstAccessMask =
                                    VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT };
    t->t->vkCmdBindPipeline(cb, VK_PIPELINE_BIND_POINT_COMPUTE, p->pipeline);
    t->t->vkCmdBindDescriptorSets(cb, VK_PIPELINE_BIND_POINT_COMPUTE, p->layout, 0, 1, &set, 0,
                                  NULL);
    t->t->vkCmdPushConstants(cb, p->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                             pum_kernels[c->kernel].args_bytes, c->args);
    for (uint32_t i = 0; i < repeats; i++) {
        if (i) {
            t->t->vkCmdPipelineBarrier(cb, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                       VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &between, 0,
                                       NULL, 0, NULL);
        }
        t->t->vkCmdDispatch(cb, c->grid[0], c->grid[1], c->grid[2]);
    }
    t->t->vkCmdPipelineBarrier(cb, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                               VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1,
                               &to_host, 0, NULL, 0, NULL);
}

/* Runs it and gives the time from submit to done. */
static bool dispatch(tester *t, const kernel_case *c, const layout *l, uint32_t repeats,
                     uint64_t *out_ns)
{
    pum_vk_pipeline_key key = { .kernel = (uint32_t)c->kernel };
    pum_vk_pipeline p;
    pumice_error err = { 0 };
    VkCommandBuffer cb = VK_NULL_HANDLE;
    VkCommandBufferAllocateInfo alloc = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                          .commandPool = t->commands,
                                          .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                          .commandBufferCount = 1 };
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
    uint64_t ticket, start;
    memcpy(key.spec, c->spec, 4 * (size_t)pum_kernels[c->kernel].n_spec);
    if (!ok(pum_vk_pipeline_get(t->vk, &key, &p, &err), &err)) return false;
    VkDescriptorSet set = bind_set(t, c, l, &p);
    if (!set) return false;
    if (!vk_ok(t, t->t->vkAllocateCommandBuffers(pum_vk_handle(t->vk), &alloc, &cb),
               "command buffer"))
        return false;
    bool fine = vk_ok(t, t->t->vkBeginCommandBuffer(cb, &begin), "begin");
    if (fine) record(t, c, &p, set, repeats, cb);
    fine = fine && vk_ok(t, t->t->vkEndCommandBuffer(cb), "end");
    start = pum_now_ns();
    fine = fine && ok(pum_vk_submit(t->vk, &cb, 1, &ticket, &err), &err) &&
           ok(pum_vk_wait(t->vk, ticket, &err), &err);
    *out_ns = pum_now_ns() - start;
    t->t->vkFreeCommandBuffers(pum_vk_handle(t->vk), t->commands, 1, &cb);
    return fine;
}

/* ---- comparison ---- */

typedef struct comparison {
    const kernel_case *c;
    int slot;
    const uint32_t *want, *got;
    const double *scale; /* per f32, or NULL */
    bool poisoned;
} comparison;

static void complain(const comparison *m, size_t item, const char *what, double want, double got,
                     double bound)
{
    const kernel_case *c = m->c;
    printf("FAIL %s [%s] %s[%zu]: %s: want %.9g got %.9g bound %.3g\n", pum_kernels[c->kernel].name,
           c->name, pum_kernels[c->kernel].binding[m->slot], item, what, want, got, bound);
}

static bool close_enough(tester *t, double want, double got, double bound)
{
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
    if (isinf(want) || isinf(got)) return want == got;
    double error = fabs(want - got);
    if (bound > 0.0 && error / bound > t->worst) t->worst = error / bound;
    return error <= bound;
}

static bool same_word(const comparison *m, size_t i, const char *what)
{
    if (m->want[i] == m->got[i]) return true;
    complain(m, i, what, m->want[i], m->got[i], 0.0);
    return false;
}

static bool compare_f32(tester *t, const comparison *m, size_t i, double tol)
{
    float want, got;
    memcpy(&want, &m->want[i], 4);
    memcpy(&got, &m->got[i], 4);
    double scale = fmax(m->scale ? m->scale[i] : fabs((double)want), m->c->bind[m->slot].floor);
    double bound = tol * scale + 1e-37;
    if (close_enough(t, want, got, bound)) return true;
    complain(m, i, "off", want, got, bound);
    return false;
}

static bool compare_f16(tester *t, const comparison *m, size_t i, double tol)
{
    for (uint32_t half = 0; half < 2; half++) {
        uint16_t bits[2] = { (uint16_t)(m->want[i] >> (16 * half)),
                             (uint16_t)(m->got[i] >> (16 * half)) };
        if (bits[0] == bits[1]) continue;
        double want = pum_ref_f16_to_f32(bits[0]), got = pum_ref_f16_to_f32(bits[1]);
        double bound = (tol + 0x1p-10) * fmax(fabs(want), m->c->bind[m->slot].floor) + 0x1p-24;
        if (close_enough(t, want, got, bound)) continue;
        complain(m, 2 * i + half, "off", want, got, bound);
        return false;
    }
    return true;
}

static bool compare_binding(tester *t, const comparison *m)
{
    const case_binding *b = &m->c->bind[m->slot];
    double tol = pum_kernels[m->c->kernel].tolerance;
    if (b->compare == CASE_CHECK) {
        char why[200] = "";
        if (b->check(m->c, m->want, m->got, why, sizeof why)) return true;
        printf("FAIL %s [%s] %s: %s\n", pum_kernels[m->c->kernel].name, m->c->name,
               pum_kernels[m->c->kernel].binding[m->slot], why);
        return false;
    }
    for (size_t i = 0; i < b->bytes / 4; i++) {
        bool fine = true;
        if (b->compare == CASE_INPUT) fine = same_word(m, i, "an input was written");
        else if (m->poisoned && m->want[i] == POISON)
            fine = same_word(m, i, "written, but should not be");
        else if (b->compare == CASE_F32) fine = compare_f32(t, m, i, tol);
        else if (b->compare == CASE_F16) fine = compare_f16(t, m, i, tol);
        else if (b->compare == CASE_KV && pum_ref_kv_near(b->kv_type, b->head_dim, i, m->want[i], m->got[i]))
            continue;
        else fine = same_word(m, i, "differs");
        if (!fine) return false;
    }
    return true;
}

static bool guards_intact(const kernel_case *c, const layout *l, const uint8_t *got)
{
    uint64_t at = 0;
    for (int i = 0; i <= bindings_of(c); i++) {
        if (i < bindings_of(c) && !c->bind[i].data) continue;
        uint64_t end = i < bindings_of(c) ? l->offset[i] : l->bytes;
        for (; at < end; at += 4) {
            uint32_t word;
            memcpy(&word, got + at, 4);
            if (word == POISON) continue;
            printf("FAIL %s [%s]: wrote %" PRIu64 " bytes before binding %d\n",
                   pum_kernels[c->kernel].name, c->name, end - at, i);
            return false;
        }
        if (i < bindings_of(c)) at = end + c->bind[i].bytes;
    }
    return true;
}

/* ---- one case ---- */

static void poison(void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes / 4; i++) ((uint32_t *)data)[i] = POISON;
}

/* The reference in place of the case's outputs; `out_scale` belongs to the binding named y. */
static bool run_reference(const kernel_case *c, double **out_scale, int *out_y)
{
    const pum_kernel_info *k = &pum_kernels[c->kernel];
    pum_ref_step step = {
        .family = k->family, .weight = (pum_dtype)k->weight, .spec = c->spec, .args = c->args
    };
    *out_y = -1;
    for (int i = 0; i < k->n_bindings; i++) {
        const case_binding *b = &c->bind[i];
        step.bind[i] = (pum_ref_binding){ b->data ? b->data : c->bind[b->same_as].data, b->bytes };
        if (strcmp(k->binding[i], "y") == 0) *out_y = b->data ? i : b->same_as;
    }
    if (*out_y >= 0)
        step.scale = *out_scale = pum_alloc_array(c->bind[*out_y].bytes / 4, sizeof(double));
    return pum_ref_run(&step);
}

static bool run_case(tester *t, kernel_case *c)
{
    const pum_kernel_info *k = &pum_kernels[c->kernel];
    layout l = lay_out(t, c);
    uint8_t *image = pum_alloc(l.bytes);
    double *scale = NULL;
    pumice_error err = { 0 };
    uint64_t ns;
    int y;
    bool fine = image && make_room(t, l.bytes);
    if (!fine) goto done;
    poison(image, l.bytes);
    for (int i = 0; i < k->n_bindings; i++) {
        case_binding *b = &c->bind[i];
        if (b->data && b->compare != CASE_INPUT && !b->keep) poison(b->data, b->bytes);
        if (b->data) memcpy(image + l.offset[i], b->data, b->bytes);
    }
    fine = ok(pum_vk_buffer_write(t->vk, &t->memory, 0, image, l.bytes, &err), &err) &&
           dispatch(t, c, &l, 1, &ns) &&
           ok(pum_vk_buffer_read(t->vk, &t->memory, 0, image, l.bytes, &err), &err);
    if (!fine) {
        printf("FAIL %s [%s]: did not run\n", k->name, c->name);
        goto done;
    }
    fine = run_reference(c, &scale, &y);
    if (!fine) {
        printf("FAIL %s [%s]: the reference refuses the case\n", k->name, c->name);
        goto done;
    }
    fine = guards_intact(c, &l, image);
    for (int i = 0; i < k->n_bindings; i++) {
        const case_binding *b = &c->bind[i];
        if (!b->data) continue;
        comparison m = {
            c, i, b->data, (const uint32_t *)(image + l.offset[i]), i == y ? scale : NULL, !b->keep
        };
        if (!compare_binding(t, &m)) fine = false;
    }
done:
    pum_free(scale);
    pum_free(image);
    return fine;
}

/* ---- all cases of a kernel ---- */

static const case_family *find_family(uint32_t family)
{
    for (uint32_t i = 0; i < case_families_matmul_count; i++) {
        if (case_families_matmul[i].family == family) return &case_families_matmul[i];
    }
    for (uint32_t i = 0; i < case_families_quantize_count; i++) {
        if (case_families_quantize[i].family == family) return &case_families_quantize[i];
    }
    for (uint32_t i = 0; i < case_families_expert_count; i++) {
        if (case_families_expert[i].family == family) return &case_families_expert[i];
    }
    for (uint32_t i = 0; i < case_families_misc_count; i++) {
        if (case_families_misc[i].family == family) return &case_families_misc[i];
    }
    for (uint32_t i = 0; i < case_families_attn_count; i++) {
        if (case_families_attn[i].family == family) return &case_families_attn[i];
    }
    return NULL;
}

/* What the planner binds last for formats that have a codebook: pum_draft_emit. */
static void bind_codebooks(kernel_case *c)
{
    const pum_kernel_info *k = &pum_kernels[c->kernel];
    const pum_dtype_info *type = pum_dtype_get((pum_dtype)k->weight);
    if (!type || type->codebook < 0) return;
    void *data = case_bind(c, k->n_bindings - 1, CASE_INPUT, sizeof pum_codebooks);
    if (data) memcpy(data, pum_codebooks, sizeof pum_codebooks);
}

/* The same cases whatever else is run: the seed depends on the kernel's name and the number alone.
 */
static bool make_case(tester *t, case_make_fn make, int kernel, uint32_t variant, kernel_case *out)
{
    case_rng rng = { pum_hash(t->seed + variant, pum_kernels[kernel].name,
                              strlen(pum_kernels[kernel].name)) };
    *out = (kernel_case){ .kernel = kernel };
    bool made = make(&rng, t->caps, kernel, variant, out);
    if (made && !out->failed) bind_codebooks(out);
    if (made && !out->failed) return true;
    if (out->failed) printf("out of memory\n");
    case_free(out);
    return false;
}

static bool make_runnable(tester *t, const case_family *family, int kernel, uint32_t variant, kernel_case *out)
{
    if (!make_case(t, family->make, kernel, variant, out)) return false;
    if (!t->emulate || out->spec[0] % subgroups_vk_own() == 0) return true;
    case_free(out);
    return false;
}

static bool test_case(tester *t, uint32_t variant, kernel_case *c)
{
    bool fine = run_case(t, c);
    if (t->verbose) {
        printf("%s %s #%u [%s]\n", fine ? "ok  " : "FAIL", pum_kernels[c->kernel].name, variant, c->name);
    }
    case_free(c);
    return fine;
}

static void test_kernel(tester *t, int kernel, const case_family *family)
{
    unsigned run = 0, failed = 0;
    uint32_t n = 0, skipped = 0; /* n counts cases; a variant that was skipped */
    t->worst = 0.0;
    for (uint32_t v = 0; v < family->variants; v++) {
        kernel_case c;
        if (!make_runnable(t, family, kernel, v, &c)) continue;
        if (n++ % t->every != t->turn) {
            skipped = v;
            case_free(&c);
            continue;
        }
        run++;
        failed += !test_case(t, v, &c);
    }
    kernel_case c;
    if (run == 0 && n > 0 && make_runnable(t, family, kernel, skipped, &c)) { /* fewer cases than turns */
        run++;
        failed += !test_case(t, skipped, &c);
    }
    if (run == 0) {
        printf("FAIL %s: no case runs on this device\n", pum_kernels[kernel].name);
        failed++;
    }
    printf("%-24s %3u of %3u cases, %u failed, worst error %.3f of the bound\n", pum_kernels[kernel].name, run, n,
           failed, t->worst);
    t->cases += run;
    t->failures += failed;
}

static void bench_kernel(tester *t, int kernel, const case_family *family)
{
    for (uint32_t v = 0; family->bench && v < family->benches; v++) {
        kernel_case c;
        uint64_t ns = 0;
        pumice_error err = { 0 };
        if (!make_case(t, family->bench, kernel, v, &c)) continue;
        layout l = lay_out(t, &c);
        bool fine = make_room(t, l.bytes);
        for (int i = 0; fine && i < bindings_of(&c); i++) {
            const case_binding *b = &c.bind[i];
            if (b->data)
                fine =
                    ok(pum_vk_buffer_write(t->vk, &t->memory, l.offset[i], b->data, b->bytes, &err),
                       &err);
        }
        clock_t cpu = clock(); /* of all threads: what a software driver worked */
        fine = fine && dispatch(t, &c, &l, 1, &ns);
        double first = (double)(clock() - cpu) / CLOCKS_PER_SEC; /* the first one compiles */
        fine = fine && dispatch(t, &c, &l, 1, &ns);
        /* on a busy machine the best of several is what says something */
        uint32_t repeats = (uint32_t)PUM_MAX(
            1.0, PUM_MIN(t->bench_ms * 1e6 / BENCH_BATCHES / (double)PUM_MAX(ns, 1), 10000.0));
        double each = INFINITY, work = INFINITY;
        for (int i = 0; i < BENCH_BATCHES && fine; i++) {
            cpu = clock();
            fine = dispatch(t, &c, &l, repeats, &ns);
            work = fmin(work, (double)(clock() - cpu) * 1e6 / CLOCKS_PER_SEC / repeats);
            each = fmin(each, (double)ns / repeats);
        }
        if (fine) {
            printf("%-22s %-44s %9.1f us %9.1f us CPU %8.2f GB/s %8.2f GFLOP/s  first %.0f ms CPU\n",
                   pum_kernels[kernel].name, c.name, each / 1e3, work, c.bytes / each, c.flops / each,
                   first * 1e3);
        } else {
            t->failures++;
        }
        case_free(&c);
    }
}

static bool wanted(const tester *t, const char *name)
{
    for (int i = 0; i < t->n_names; i++) {
        if (strstr(name, t->names[i])) return true;
    }
    return t->n_names == 0;
}

static void run_all(tester *t)
{
    for (int i = 0; i < PUM_KERNEL_COUNT; i++) {
        const pum_kernel_info *k = &pum_kernels[i];
        if (!wanted(t, k->name) || (t->emulate && !subgroups_vk_spirv[i].words)) continue;
        const case_family *family = find_family(k->family);
        if (!family || !family->variants) {
            printf("FAIL %s: its family has no cases\n", k->name);
            t->failures++;
        } else if (k->needs & ~t->caps->bits) {
            printf("%-24s skipped: the device lacks what it needs\n", k->name);
        } else if (t->bench_ms > 0.0) {
            bench_kernel(t, i, family);
        } else {
            test_kernel(t, i, family);
        }
        fflush(stdout);
    }
}

/* ---- device and command line ---- */

static void print_log(void *user, pumice_log_level level, const char *text)
{
    (void)user;
    if (level <= PUMICE_LOG_WARNING)
        printf("[%s] %s\n", level == PUMICE_LOG_ERROR ? "error" : "warning", text);
}

static bool open_pools(tester *t)
{
    VkCommandPoolCreateInfo pool = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                     .queueFamilyIndex = pum_vk_queue_family(t->vk) };
    VkDescriptorPoolSize sizes[] = { { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, PUM_MAX_BINDINGS },
                                     { VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, PUM_MAX_BINDINGS } };
    VkDescriptorPoolCreateInfo sets = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                        .maxSets = 1,
                                        .poolSizeCount = 2,
                                        .pPoolSizes = sizes };
    VkDevice device = pum_vk_handle(t->vk);
    return vk_ok(t, t->t->vkCreateCommandPool(device, &pool, NULL, &t->commands), "command pool") &&
           vk_ok(t, t->t->vkCreateDescriptorPool(device, &sets, NULL, &t->descriptors),
                 "descriptor pool");
}

static bool parse(int argc, char **argv, tester *t, pum_vk_params *params)
{
    bool bench = false;
    double ms = 200.0;
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        bool more = i + 1 < argc;
        pumice_error err = { 0 };
        if (strcmp(argv[i], "--seed") == 0 && more) t->seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--ms") == 0 && more) ms = strtod(argv[++i], NULL);
        else if (strcmp(argv[i], "--every") == 0 && more) t->every = (uint32_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--turn") == 0 && more) t->turn = (uint32_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--bench") == 0) bench = true;
        else if (strcmp(argv[i], "--verbose") == 0) t->verbose = true;
        else if (strcmp(argv[i], "--no-validation") == 0) params->validation = false;
        else if (strcmp(argv[i], "--emulate") == 0 && more) t->emulate = (uint32_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--device") == 0 && more) params->select = argv[++i];
        else if (strcmp(argv[i], "--disable") == 0 && more) {
            if (!pum_caps_bits_from_names(argv[++i], &params->disable_bits, &err)) {
                printf("%s\n", err.text);
                return false;
            }
        } else {
            printf("unknown option %s\n", argv[i]);
            return false;
        }
    }
    if (t->every == 0 || getenv("PUMICE_TEST_THOROUGH")) t->every = 1;
    t->turn %= t->every;
    if (t->emulate) params->get_instance_proc_addr = subgroups_vk_loader(t->emulate);
    /* kernels that plans leave alone until they have run here; and what the driver is, that is hidden then */
    if (!pum_caps_wishes_parse(NULL, NULL, t->emulate ? "lavapipe-short-loops=on" : "coop-unproven=off",
                               &params->wishes, NULL)) {
        return false;
    }
    t->bench_ms = bench ? ms : 0.0;
    if (bench) params->validation = false;
    t->use = bench ? PUM_VK_DEVICE : PUM_VK_SHARED;
    t->names = argv + i;
    t->n_names = argc - i;
    return true;
}

int main(int argc, char **argv)
{
    tester t = { .seed = 1, .every = 1 };
    pum_vk_params params = { .validation = !getenv("PUMICE_TEST_NO_VALIDATION"),
                             .log.fn = print_log };
    pumice_error err = { 0 };
    if (!parse(argc, argv, &t, &params)) return 1;
    pumice_status status = pum_vk_device_create(&params, &t.vk, &err);
    if (status != PUMICE_OK) {
        printf("no device: %s\n", err.text);
        return 77;
    }
    t.caps = pum_vk_device_caps(t.vk);
    t.t = pum_vk_table(t.vk);
    printf("%s, subgroups of %u, seed %llu\n", t.caps->name, t.caps->subgroup_size,
           (unsigned long long)t.seed);
    if (open_pools(&t)) {
        run_all(&t);
    } else {
        t.failures++;
    }
    drop_views(&t);
    t.t->vkDestroyDescriptorPool(pum_vk_handle(t.vk), t.descriptors, NULL);
    t.t->vkDestroyCommandPool(pum_vk_handle(t.vk), t.commands, NULL);
    pum_vk_buffer_destroy(t.vk, &t.memory);
    if (pum_vk_validation_count(t.vk)) {
        printf("FAIL: %llu validation messages\n",
               (unsigned long long)pum_vk_validation_count(t.vk));
        t.failures++;
    }
    pum_vk_device_destroy(&t.vk);
    if (t.emulate && (!subgroups_vk_emulated() || subgroups_vk_not_emulated())) {
        printf("FAIL: %u pipelines with emulated subgroups, %u with the device's\n", subgroups_vk_emulated(),
               subgroups_vk_not_emulated());
        t.failures++;
    }
    if (t.bench_ms <= 0.0) printf("%u cases, %u failures\n", t.cases, t.failures);
    return t.failures ? 1 : 0;
}
