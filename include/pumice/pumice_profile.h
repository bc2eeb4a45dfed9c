/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking inside: plans as text and JSON, and times per dispatch. The rules of pumice.h hold.
 */
#ifndef PUMICE_PROFILE_H
#define PUMICE_PROFILE_H

#include <pumice/pumice.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Receives text in pieces of any size. Return non-zero to cancel. */
typedef int (*pumice_text_fn)(void *user, const char *text, size_t bytes);

typedef int32_t pumice_plan_format;
enum { PUMICE_PLAN_TEXT = 0, PUMICE_PLAN_JSON = 1 };

typedef struct pumice_plan_params {
    uint32_t struct_size;
    const char *path;      /* as in pumice_model_params; weights are not loaded */
    const char *profile;   /* a built-in device profile ("navi31"); NULL = use `device` */
    pumice_device *device; /* plan for this device; NULL with profile */
    uint32_t n_rows;       /* tokens per pass: 1 = decode; 0 = 1 */
    uint32_t n_ctx_tokens; /* 0 = as in pumice_session_params */
    uint32_t n_sequences;
    pumice_kv_type kv_type_k, kv_type_v;
    uint32_t no_fusion;
    uint32_t check; /* 1 = also prove the plan with the second algorithm */
    pumice_plan_format format;
    const char *disable, *caps, *quirks; /* of the profile, as in pumice_device_params */
    uint32_t sizes; /* 1 = no plan but sizes: parameters, memory by weight format, the bound that
                       bandwidth sets on decoding, devices; for any architecture, and for the
                       config.json of a Hugging Face model alone */
    uint32_t encoder; /* 1 = the pass of the model's encoder, over n_rows tokens */
    const char *quant; /* as in pumice_model_params; not for sizes */
    /* Several devices, as in pumice_model_params: the text is then the cut, what each device holds,
     * what goes from one to the next, and the plan of each. `profile` may instead name several, with
     * commas between ("navi31,intel-a770"); what those are worth is their tables' business. */
    pumice_device *const *devices;
    uint32_t n_devices;
    const uint32_t *split;
    uint32_t n_split; /* numbers in `split`: as many as devices; 0 = not given */
    pumice_activations activations;
} pumice_plan_params;

/* Plans one pass over the model without running it and hands the plan's text to `text`. */
PUMICE_API pumice_status pumice_plan(const pumice_plan_params *params, pumice_text_fn text,
                                     void *user, pumice_error *err);

/* Name of the i-th built-in device profile, NULL past the end. */
PUMICE_API const char *pumice_profile_name(size_t index);
/* The name of the built-in profile that `name` means, in any case or by another name it goes by
 * ("rx-7900-xtx" is navi31); NULL if there is none. */
PUMICE_API const char *pumice_profile_find(const char *name);

/* One dispatch of one pass of a session created with params.profile = 1. Strings are valid during
 * the call. */
typedef struct pumice_dispatch {
    uint32_t struct_size;
    const char *kernel; /* "matvec_q8_0_sub" */
    const char *label;  /* "blk.3 matmul ffn_down" */
    int32_t layer;      /* -1 outside the layers */
    uint32_t barrier;   /* 1 = waited for what came before */
    uint32_t n_rows;    /* rows of the pass: 1 = decode */
    uint64_t pass;      /* number of the pass in the session */
    uint64_t begin_ns;  /* device clock, relative to the pass's first timestamp */
    uint64_t duration_ns;
    uint64_t bytes, flops; /* compulsory traffic and arithmetic, from the plan */
} pumice_dispatch;
typedef void (*pumice_dispatch_fn)(void *user, const pumice_dispatch *dispatch);

/* Sets who is told of every dispatch after each pass. The session must have been created with
 * profile = 1. */
PUMICE_API pumice_status pumice_session_set_profile(pumice_session *session, pumice_dispatch_fn fn,
                                                    void *user);

/* What a device can do at most, as measured. 0 = the device cannot do it at all. */
typedef struct pumice_roof {
    uint32_t struct_size;
    uint64_t read_bytes;                      /* size of the range that was read */
    double read_gbs;                          /* memory read, 10^9 bytes a second: the faster way */
    double f32_gflops, f16_gflops; /* multiply-adds count as two */
    double dispatch_us;                       /* one more dispatch that waits for nothing */
    double barrier_us; /* what a barrier before it adds; 0 also where that drowns in noise */
    double submit_us,
        submit_wait_us; /* a submit of one dispatch: many in flight; one and its wait */
    double dot8_gops; /* packed products of 8-bit integers; a product and its sum count as two */
    double storage_gbs, texel_gbs; /* memory read through storage buffers, through a texel buffer */
} pumice_roof;

/* Measures a device with kernels that do nothing else; takes a second or two and 150 MiB of device
 * memory. out_roof->struct_size must be set. Nothing else should run on the device meanwhile. */
PUMICE_API pumice_status pumice_device_measure(pumice_device *device, pumice_roof *out_roof,
                                               pumice_error *err);

#ifdef __cplusplus
}
#endif

#endif
