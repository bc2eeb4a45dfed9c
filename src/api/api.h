/* SPDX-License-Identifier: Apache-2.0
 * The objects behind the public handles, for api/ alone. Reference counts keep a parent alive until
 * its last child is destroyed; everything else here is reached through the inner layers. */
#ifndef PUM_API_H
#define PUM_API_H

#include <stdatomic.h>

#include "args.h"
#include "exec.h"
#include "model.h"
#include "plan.h"
#include "tokenizer.h"
#include "vk.h"

#include <pumice/pumice_profile.h>

struct pumice_device {
    atomic_uint references;
    pum_vk_device *vk;
    pum_tuning tuning;
    bool no_self_test;
    _Atomic uint64_t read_mbs; /* measured when first asked for: 10^6 bytes a second; 0 = not yet */
};

/* What one device holds of a model: all of it, or the layers that are its share. */
typedef struct pum_model_part {
    pumice_device *device;
    const pum_model_def *def; /* the model's, or `own` */
    pum_model_def own;        /* some of its layers; empty if it has all */
    pum_placement placement;
    /* Where weights that are used in the file at first will lie (settle.c); empty: where they are */
    pum_placement settled;
    atomic_bool is_settled;
    struct pum_settling *settling; /* NULL = not under way */
    pum_vk_buffer *buffers; /* those of pum_part_buffers */
} pum_model_part;

/* The sizes of all buffers: the second placement has the first one's too. */
static inline const pum_placement *pum_part_buffers(const pum_model_part *part)
{
    return part->settled.pieces.count ? &part->settled : &part->placement;
}

/* Where the weights are now; changes once at most. Any thread. */
static inline const pum_placement *pum_part_weights(const pum_model_part *part)
{
    return atomic_load(&part->is_settled) ? &part->settled : &part->placement;
}

/* Bytes of weights, as they lie on the devices, by how they got there. */
typedef struct pum_load_bytes {
    uint64_t in_place, copied, repacked_host, repacked_device, rounded;
} pum_load_bytes;

struct pumice_model {
    atomic_uint references;
    pum_gguf *gguf;
    pum_tokenizer *tokenizer; /* NULL: the model comes without one */
    pum_model_def def; /* empty for vocab_only */
    pum_model_part *parts; /* in the order of the layers; none for vocab_only */
    uint32_t n_parts;
    pumice_transport transport; /* n_ranks 0: this process is alone */
    bool joined;                /* rank 0: the other ranks serve, until they are told to quit, */
    struct pum_message *quit;   /* with this, made early so that it cannot fail */
    atomic_bool in_session;     /* rank 0: of the one session that ranks serve */
    bool vocab_only;
    uint32_t in_place; /* whether the file may be used where it is mapped: PUMICE_IN_PLACE_... */
    uint64_t open_ns, upload_ns, ahead_ns; /* what loading took; the last: until the pipelines made ahead were there */
    pum_load_bytes loaded; /* when loading ended: see pum_parts_loaded */
};

void pum_device_keep(pumice_device *device);
void pum_model_keep(pumice_model *model);
/* true for every token that ends a reply, by the tokenizer or by the model's own list. */
bool pum_model_ends(const pumice_model *model, int32_t token);

/* Clears *err, and checks a params struct's size: at least `least` bytes must be there. */
pumice_status pum_params_check(uint32_t struct_size, size_t least, const char *what,
                               pumice_error *err);
/* Copies a params struct of a maybe older caller into `out`, the rest zero. */
void pum_params_copy(void *out, size_t out_bytes, const void *params);

/* ---- part.c: a model on its devices ---- */
/* Cuts the model for these devices and lays its weights out on them: `counts` layers each, NULL =
 * by memory and speed. `session` (may be NULL) tells how much the KV caches will take. */
pumice_status pum_parts_make(pumice_model *model, pumice_device *const *devices, uint32_t n,
                             const uint32_t *counts, const pumice_session_params *session,
                             pumice_error *err);
/* upload.c: puts the weights where they were laid out. */
pumice_status pum_parts_upload(pumice_model *model, const pumice_model_params *params,
                               pumice_error *err);
void pum_parts_free(pumice_model *model);
/* One part for one device, of a group of ranks. */
pumice_status pum_parts_make_one(pumice_model *model, pumice_device *device, uint32_t first,
                                 uint32_t count, pumice_error *err);
/* How the weights got where they are now. */
pum_load_bytes pum_parts_loaded(const pumice_model *model);
uint64_t pum_parts_weight_bytes(const pumice_model *model);

/* ---- group.c: ranks that load a model together. All ranks call these in the same order ---- */
/* How many layers each rank takes, into out_counts; `status` and *err are how this rank fared so far.
 * Returns the same on all. */
pumice_status pum_group_cut(const pumice_model *model, pumice_device *device,
                            const pumice_model_params *params, pumice_status status,
                            uint32_t *out_counts, pumice_error *err);
/* The first rank's failure, on all of them. */
pumice_status pum_group_agree(const pumice_transport *transport, pumice_status status,
                              pumice_error *err);
/* serve.c: tells the other ranks that the model is no more. */
void pum_group_quit(pumice_model *model);

/* ---- cut.c ---- */
typedef struct pum_cut_device {
    const pum_caps *caps;
    const pum_tuning *tuning;
    uint64_t room_bytes;
    double bytes_per_second;
} pum_cut_device;
/* How many layers each device takes, by memory and speed. */
pumice_status pum_cut_make(const pum_model_def *def, const pumice_session_params *session,
                           const pum_cut_device *devices, uint32_t n, uint32_t *out_counts,
                           pumice_error *err);
/* What a device is worth, measured; devices that are one and the same share its memory and are
 * equally fast. */
void pum_cut_device_of(pumice_device *const *devices, uint32_t n, uint32_t index,
                       pum_cut_device *out);
/* INVALID unless `counts` are the layers of the model, some for every device. */
pumice_status pum_cut_check(const pum_model_def *def, const uint32_t *counts, uint32_t n,
                            pumice_error *err);

/* roof.c: how fast a device reads memory, in bytes a second, measured once. */
double pum_device_read_rate(pumice_device *device);

/* Lays out a model's weights for a device; `in_place`: that may use the mapped file's pages where they
 * are, which its placement then begins with. */
pumice_status pum_weights_place(const pum_model_def *def, const pum_caps *caps, bool in_place, pum_placement *out,
                                pumice_error *err);
/* Lays out the KV caches of all layers for `pages` pages. */
pumice_status pum_kv_place(const pum_model_def *def, const pum_caps *caps, pum_dtype k, pum_dtype v,
                           uint64_t pages, pum_placement *out, pumice_error *err);
bool pum_kv_dtype(pumice_kv_type type, pum_dtype *out);

/* How large a session is, from its params and the model: shared by sessions and pumice_plan. */
typedef struct pum_session_size {
    uint32_t n_ctx, n_sequences, n_batch, logits_rows, pages_per_sequence;
    uint64_t logits_bytes; /* of the buffer, which also takes an encoder's output */
    uint64_t pages;
    pum_dtype kv_k, kv_v;
    pum_step_layout step;
} pum_session_size;
/* The sentence about a context that the model was not trained for. */
pumice_status pum_context_too_long(uint32_t n_ctx, uint32_t train, pumice_error *err);
/* How the session's passes are planned. */
pum_plan_options pum_session_plan_options(const pumice_session_params *params);
pumice_status pum_session_size_make(const pum_model_def *def, const pumice_session_params *params,
                                    pum_session_size *out, pumice_error *err);

#endif
