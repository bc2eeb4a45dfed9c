/* SPDX-License-Identifier: Apache-2.0
 * The plan: what a device will do for one graph, as an array of plain steps. No pointers into it,
 * no Vulkan handles: it can be printed, hashed, compared, fuzzed, checked by a second algorithm
 * (plan_check.c), run on the host's reference kernels, and made for a device that is not there.
 * exec/ executes it in a dumb loop. Everything here is pure and thread-safe. */
#ifndef PUM_PLAN_H
#define PUM_PLAN_H

#include "caps.h"
#include "graph.h"
#include "kernel.h"
#include "tuning.h"

/* Buffers a step can bind. Weight and KV buffers are several: PUM_BUFFER_WEIGHT + i, PUM_BUFFER_KV
 * + i. */
enum {
    PUM_BUFFER_ARENA = 0, /* activations of the plan */
    PUM_BUFFER_STEP = 1,
    PUM_BUFFER_LOGITS = 2,
    PUM_BUFFER_HIDDEN = 3, /* rows that the part of the model before this one made */
    PUM_BUFFER_KV = 0x100,
    PUM_BUFFER_WEIGHT = 0x10000
};

typedef struct pum_binding {
    uint32_t buffer;
    uint8_t access; /* pum_access, from the kernel table */
    uint64_t offset_bytes, size_bytes;
} pum_binding;

typedef struct pum_step {
    uint32_t kernel; /* index into pum_kernels */
    uint32_t spec[PUM_MAX_SPEC];
    uint32_t grid[3]; /* workgroups */
    pum_binding bind[PUM_MAX_BINDINGS];
    uint8_t args[PUM_MAX_ARGS_BYTES];
    uint8_t barrier;    /* 1 = wait for everything before: set by plan_sync.c alone */
    uint8_t submit_end; /* 1 = last step of its queue submit: set by plan_submit.c alone */
    int32_t node;       /* of the fused graph, for dumps */
    int32_t layer;
    char label[56];        /* "blk.3 matmul ffn_down" */
    uint64_t bytes, flops; /* compulsory memory traffic and arithmetic */
    uint64_t predicted_ns;
} pum_step;

/* Where one activation lies in the arena, for dumps and plan_check. */
typedef struct pum_plan_value {
    char name[48];
    uint64_t offset_bytes, size_bytes;
    uint32_t first_step, last_step;
} pum_plan_value;

typedef struct pum_plan {
    PUM_ARRAY(pum_step) steps;
    PUM_ARRAY(pum_plan_value) values;
    uint64_t arena_bytes;
    uint64_t step_bytes, logits_bytes, hidden_bytes; /* least size of those buffers */
    uint64_t bytes, flops, predicted_ns;
    uint32_t rows, n_barriers, n_submits, n_fused;
    uint64_t activation_bytes; /* sum of all activations: what the arena would be without reuse */
} pum_plan;

/* A large tensor lies in one or more pieces of whole rows; each piece is in one buffer, aligned for
 * binding and no longer than a binding may be. */
typedef struct pum_piece {
    uint32_t tensor;
    uint64_t row_first, row_count;
    uint32_t buffer; /* number within its class (weights or KV) */
    uint64_t offset_bytes, size_bytes;
} pum_piece;

typedef struct pum_placement {
    PUM_ARRAY(pum_piece) pieces;      /* by tensor, then by row */
    PUM_ARRAY(uint32_t) first;        /* first piece of tensor i; first[n_tensors] = pieces.count */
    PUM_ARRAY(uint64_t) buffer_bytes; /* size of each buffer */
    /* The first n_host buffers are pages of the host, whole ones of PUM_PAGE_BYTES from these addresses
     * on, in which tensors lie as they are in the host's memory. */
    PUM_ARRAY(uint64_t) host;
    uint32_t n_host;
    uint64_t total_bytes;
} pum_placement;

/* The piece is used in the host's pages. */
static inline bool pum_placement_in_pages(const pum_placement *placement, const pum_piece *piece)
{
    return piece->buffer < placement->n_host;
}

typedef struct pum_tensor_size {
    const char *name; /* for messages */
    uint64_t rows, row_bytes;
    bool splittable; /* false: must lie in one piece (KV caches, norm weights) */
    /* Of a tensor whose bytes are in memory that the device may be given: where, and how many; 0: it is not. */
    uint64_t host_at, host_bytes;
    bool host_same;  /* they are as the device wants them */
    bool joins;      /* may be bound as one with the tensor before it, if it lies right behind that */
} pum_tensor_size;

/* Lays tensors out in buffers within the device's limits (plan_place.c): where they are, if the host has
 * them as the device wants them and they can be bound there, unless that would part tensors that join;
 * else one behind the other in memory of the device's own. Fails with UNSUPPORTED
 * when one row or an unsplittable tensor is larger than a binding may be. */
pumice_status pum_placement_make(const pum_tensor_size *tensors, size_t count, const pum_caps *caps,
                                 pum_placement *out_placement, pumice_error *err);
/* The same weights with none left in the host's pages: those that were are in further buffers, behind the others, which
 * stay what they were. */
pumice_status pum_placement_settle(const pum_placement *placement, const pum_caps *caps, pum_placement *out_settled,
                                   pumice_error *err);
void pum_placement_free(pum_placement *placement);
/* The buffer of the host's pages that holds a range of its memory, and where in it; false: none does. */
bool pum_placement_find_host(const pum_placement *placement, uint64_t at, uint64_t bytes, uint32_t *out_buffer,
                             uint64_t *out_offset);
/* The piece of a tensor that lies in one; NULL if it is cut. */
const pum_piece *pum_placement_only_piece(const pum_placement *placement, int32_t tensor);

typedef struct pum_plan_options {
    bool no_fusion;
    bool no_reuse;          /* every activation its own range (tests) */
    uint64_t max_submit_ns; /* 0 = the tuning table's */
    bool q8_activations;    /* products may round their input to 8 bits where the device gains by it */
} pum_plan_options;

/* graph -> plan: quantize, fuse, select, memory, sync, submit. `weights` and `kv` say where those tensors
 * lie. */
pumice_status pum_plan_make(const pum_graph *graph, const pum_caps *caps, const pum_tuning *tuning,
                            const pum_placement *weights, const pum_placement *kv,
                            const pum_plan_options *options, pum_plan *out_plan, pumice_error *err);
void pum_plan_free(pum_plan *plan);

/* Sets step.barrier: the fewest barriers that cover all hazards between binding ranges. A pass of
 * pum_plan_make, and for plans made by hand. */
pumice_status pum_plan_sync(pum_plan *plan, pumice_error *err);

/* Proves by another algorithm than the passes': live ranges of activations never overlap, every
 * RAW, WAR and WAW is covered by a barrier, bindings are aligned and within buffers and device
 * limits. */
pumice_status pum_plan_check(const pum_plan *plan, const pum_caps *caps,
                             const pum_placement *weights, const pum_placement *kv,
                             pumice_error *err);

/* Stable text: every step with its grid, bindings, barrier and bytes, the arena map, the totals. */
void pum_plan_dump(const pum_plan *plan, pum_text *out);
/* The same facts as JSON. */
void pum_plan_dump_json(const pum_plan *plan, pum_text *out);
uint64_t pum_plan_hash(const pum_plan *plan);

#endif
