/* SPDX-License-Identifier: Apache-2.0
 *
 * Pumice: transformer language models on any Vulkan device.
 *
 * Three objects:
 *   pumice_device   one GPU (or software device) opened for compute
 *   pumice_model    one model file, its weights on the device: immutable, shareable
 *   pumice_session  one timeline of work on a model: KV cache, sequences, logits, sampling
 *
 * Rules that hold for every function here:
 *   - Nothing aborts, exits, prints or reads environment variables, except where a params field
 * says so.
 *   - Every function that can fail returns pumice_status. On failure all `out_` arguments are zero
 *     and nothing is leaked. The text of a failure is one sentence: what is wrong and what to do.
 *   - Params structs: set `struct_size = sizeof(struct)`; a zero in any other field means
 * "default". Fields are only ever appended. A NULL params pointer means "all defaults" where
 * allowed.
 *   - Strings are UTF-8, NUL-terminated unless a length is given, and are copied.
 *   - `*_destroy(&h)` takes the handle's address, accepts NULL and a pointer to NULL, and sets it
 * to NULL. Destroy sessions before their model and models before their device; a parent that still
 * has children lives on until the last child is gone.
 *   - Thread safety: device: any thread. Model: any thread after load. Session: one thread at a
 * time, except pumice_session_cancel, which any thread may call at any time before destroy starts.
 *   - Sizes are in bytes where a name ends in _bytes, in tokens where it ends in _tokens.
 */
#ifndef PUMICE_H
#define PUMICE_H

#include <stddef.h>
#include <stdint.h>

#include <pumice/version.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(PUMICE_SHARED)
#ifdef PUMICE_BUILD
#define PUMICE_API __declspec(dllexport)
#else
#define PUMICE_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define PUMICE_API __attribute__((visibility("default")))
#else
#define PUMICE_API
#endif

/* ---- status, errors, log ------------------------------------------------------------------- */

typedef int32_t pumice_status;
enum {
    PUMICE_OK = 0,
    PUMICE_ERROR_INVALID = 1,       /* an argument or a combination of arguments is wrong */
    PUMICE_ERROR_IO = 2,            /* a file cannot be opened, read or written */
    PUMICE_ERROR_FORMAT = 3,        /* a file is damaged or not what its name says */
    PUMICE_ERROR_UNSUPPORTED = 4,   /* well-formed, but this version cannot run it */
    PUMICE_ERROR_HOST_MEMORY = 5,   /* out of host memory */
    PUMICE_ERROR_DEVICE_MEMORY = 6, /* out of device memory, or over the budget */
    PUMICE_ERROR_NO_DEVICE = 7,     /* no Vulkan loader, driver or matching device */
    PUMICE_ERROR_DEVICE_LOST = 8, /* the driver reset the device: destroy it and create it again */
    PUMICE_ERROR_CANCELLED = 9,   /* pumice_session_cancel or a callback asked to stop */
    PUMICE_ERROR_CONTEXT_FULL = 10, /* the sequence has reached the session's context length */
    PUMICE_ERROR_INTERNAL = 11      /* a bug in the library or the driver */
};

/* A short English name of a status ("out of device memory"); never NULL. Thread-safe. */
PUMICE_API const char *pumice_status_name(pumice_status status);

/* "0.1.0". Thread-safe. */
PUMICE_API const char *pumice_version(void);

/* What went wrong, owned by the caller. Functions that create something take an optional one. */
typedef struct pumice_error {
    pumice_status status;
    char text[508]; /* one sentence, NUL-terminated, cut on a UTF-8 boundary */
} pumice_error;

typedef int32_t pumice_log_level;
enum { PUMICE_LOG_ERROR = 1, PUMICE_LOG_WARNING = 2, PUMICE_LOG_INFO = 3, PUMICE_LOG_DEBUG = 4 };

/* Called on the thread that does the work, which may be the library's own as long as a model lives; `text` is one
 * line without a newline, valid during the call. */
typedef void (*pumice_log_fn)(void *user, pumice_log_level level, const char *text);

/* Progress of a long call: `done` of `total` units. Return non-zero to cancel it. */
typedef int (*pumice_progress_fn)(void *user, uint64_t done, uint64_t total);

/* ---- device -------------------------------------------------------------------------------- */

typedef struct pumice_device pumice_device;

typedef int32_t pumice_device_kind;
enum {
    PUMICE_DEVICE_OTHER = 0,
    PUMICE_DEVICE_INTEGRATED = 1,
    PUMICE_DEVICE_DISCRETE = 2,
    PUMICE_DEVICE_VIRTUAL = 3,
    PUMICE_DEVICE_SOFTWARE = 4 /* a CPU that implements Vulkan, such as lavapipe or SwiftShader */
};

typedef struct pumice_device_info {
    uint32_t struct_size;
    uint32_t index; /* position in the loader's list: a valid `select` string */
    pumice_device_kind kind;
    uint32_t vendor_id, device_id;
    uint32_t api_version; /* as Vulkan packs it */
    uint32_t subgroup_size;
    uint32_t usable;       /* 1 if Pumice can run on it */
    uint64_t heap_bytes;   /* all device-local heaps together */
    uint64_t budget_bytes; /* what is free now where the driver tells, else heap_bytes */
    uint64_t max_buffer_range_bytes;
    uint64_t max_allocation_bytes;
    char name[256];
    char driver[256];  /* driver name and version text */
    char family[32];   /* the row of Pumice's tuning tables, such as "amd-rdna3" */
    char tiers[64];    /* usable feature tiers, such as "base sub" */
    char uuid[33];     /* pipelineCacheUUID's sibling deviceUUID, 32 hex digits */
    char why_not[128]; /* reason when usable is 0 */
    uint32_t subgroup_min, subgroup_max, max_workgroup_invocations, shared_memory_bytes;
    uint32_t offset_align_bytes;
    char quirks[512]; /* known driver bugs that are acted upon, names separated by blanks */
} pumice_device_info;

typedef struct pumice_device_params {
    uint32_t struct_size;
    /* Which device: NULL or "auto" = the best GPU, else the software device; "cpu" = the software
     * device; a list index "0"; a UUID; or a part of the name, case-insensitive. */
    const char *select;
    const char
        *disable; /* capabilities to switch off, comma-separated: "sub,f16,dot8,coop,timeline" */
    const char
        *cache_dir;    /* pipeline cache folder; NULL = $XDG_CACHE_HOME/pumice or ~/.cache/pumice */
    uint32_t no_cache; /* 1 = neither read nor write the pipeline cache */
    uint32_t validation; /* 1 = Khronos validation + synchronization validation; messages go to log
                            as errors */
    uint64_t memory_budget_bytes; /* upper bound on device memory for weights + KV + activations; 0
                                     = what is there */
    pumice_log_fn log;            /* NULL = silent */
    void *log_user;
    /* A vkGetInstanceProcAddr to use instead of the system's loader (embedding, layers, tests);
     * NULL = load it. */
    void *get_instance_proc_addr;
    /* Makes the device less than it is, to run what weaker ones run: "subgroup=16,shared=16K,invocations=128,
     * range=64M,align=4K,allocation=1G,push=128,buffers=8" and NAME=0 for any capability; NULL = as it is.
     * "transfer=1": uploads that must be staged (with "unified=0" all) go to a queue of their own, or to the only one
     * as if it were another. "repack=1": weights are brought into the device's form on the device, "repack=0": on the
     * host, whatever suits its family. "host-import=1": the device uses a model's mapped file where it is, whatever its
     * family and pumice_model_params.in_place; "host-import=0": never. */
    const char *caps;
    /* Known driver bugs to act upon or to ignore whatever the driver is: "NAME=on,NAME=off"; NULL = as they match.
     * pumice_quirk_get lists them. */
    const char *quirks;
    /* 1 = trust the driver. Otherwise each pipeline's first use with a version of a driver is compared with
     * a reference on the host (some tenths of a second once, remembered in the cache folder); where one is
     * wrong the log gets a warning and a slower kernel takes its place. */
    uint32_t no_self_test;
} pumice_device_params;

/* The driver bugs that Pumice knows (struct_size set by the caller). False past the end. */
typedef struct pumice_quirk {
    uint32_t struct_size;
    const char *name, *text; /* what goes wrong */
    const char *seen, *link; /* "2026-11", where it is told */
    char effect[64];         /* "without sub", "short submits" */
} pumice_quirk;
PUMICE_API int pumice_quirk_get(size_t index, pumice_quirk *out_quirk);

/* Lists the devices the loader sees, usable or not. Writes at most `capacity` infos and the total
 * to *out_count. infos may be NULL when capacity is 0. `params` (may be NULL) gives the loader and
 * log. */
PUMICE_API pumice_status pumice_device_list(const pumice_device_params *params,
                                            pumice_device_info *infos, uint32_t capacity,
                                            uint32_t *out_count, pumice_error *err);

/* Opens a device. Blocks for the driver's start (milliseconds to seconds). */
PUMICE_API pumice_status pumice_device_create(const pumice_device_params *params,
                                              pumice_device **out_device, pumice_error *err);
PUMICE_API void pumice_device_destroy(pumice_device **device);

/* Facts of an opened device; info->struct_size must be set. */
PUMICE_API pumice_status pumice_device_get_info(pumice_device *device, pumice_device_info *info);

/* Number of validation messages so far (0 unless params.validation); destroying children may add
 * some. */
PUMICE_API uint64_t pumice_device_validation_count(pumice_device *device);

/* ---- model --------------------------------------------------------------------------------- */

typedef struct pumice_model pumice_model;

/* Processes that share a model, on one machine or several, each with a device: ranks from 0. Two
 * functions of the caller's carry bytes between them (MPI's, or sockets). All ranks run the same
 * version of this library on machines of one byte order. Both return non-zero when the other rank
 * cannot be reached any more; then what works on the model fails with INTERNAL. */
typedef struct pumice_transport {
    uint32_t struct_size;
    uint32_t rank, n_ranks; /* of this process, 0 <= rank < n_ranks */
    void *user;
    /* Sends bytes to another rank. Copies them, and does not wait until they are taken. */
    int (*send)(void *user, uint32_t rank, const void *data, size_t bytes);
    /* Waits for the next bytes of another rank: just as many as it gave to one send. */
    int (*receive)(void *user, uint32_t rank, void *data, size_t bytes);
} pumice_transport;

typedef struct pumice_model_params {
    uint32_t struct_size;
    const char *path;            /* a GGUF file, or a Hugging Face directory */
    pumice_progress_fn progress; /* bytes uploaded of bytes in all */
    void *progress_user;
    uint32_t vocab_only; /* 1 = only metadata and tokenizer: no weights, `device` may be NULL; path
                            may be a tokenizer's file or directory too */
    /* What sessions on it will be created with: the pipelines they decode with are then made while
     * the weights are uploaded. NULL = not ahead of the session. Read during the call. */
    const struct pumice_session_params *session;
    /* Rounds the matrices on the device while they are loaded, as pumice_quantize would: a type of
     * pumice_quantize_params but F32. The model must be in F32, F16 or BF16. NULL = as they are. */
    const char *quant;
    /* Several devices: each gets consecutive layers, in this order, and the first argument of
     * pumice_model_load is not read. The same device may stand here twice. Sessions work as ever: the
     * hidden rows of a pass go from device to device through host memory, a prompt's batches one
     * behind the other, so that all devices work at once. An encoder-decoder's layers are its encoder's
     * and then its decoder's; every device with layers of the decoder gets the encoder's output. */
    pumice_device *const *devices; /* n_devices of them; read during the call */
    uint32_t n_devices;            /* 0 = the first argument alone */
    /* How many layers each device gets: n_devices numbers that add up to the model's (with an encoder:
     * to its and the decoder's, n_encoder_layers + n_layers of pumice_model_info). NULL = such
     * that all fits in the devices' memory (with the KV caches of `session`, or of a session with
     * default params) and the slowest device, by its measured read bandwidth, takes the least time. */
    const uint32_t *split;
    /* Several processes: each calls pumice_model_load with the same model and the same params but for
     * its own device (one) and transport, and gets its part of the layers; `split` has a number for
     * each rank. All fail together, with the sentence of the first that failed. Rank 0 then works as
     * with any model, one session at a time; the others call pumice_model_serve. Copied, but `user`
     * must outlive the model. NULL = this process alone. */
    const pumice_transport *transport;
    uint32_t in_place; /* PUMICE_IN_PLACE_...: of devices that are known to read a mapped file's pages */
    /* How the sessions of `session` will choose tokens: kernels for that are then made ahead too. Only a temperature
     * above 0, or none, makes a difference. NULL = not ahead. Read during the call. */
    const struct pumice_sampling *sampling;
} pumice_model_params;

/* How long a device uses weights where they are in the mapped file. Devices that are known to read a file's pages
 * (software devices) do so as far as they read weights as the file has them (F32, F16, BF16, Q4_K, Q5_K); all others
 * copy while loading. The file must stay as it is meanwhile: if it is truncated, the process gets SIGBUS, as it does
 * while loading. (A file that is replaced, by renaming another, stays.) */
enum {
    PUMICE_IN_PLACE_AT_FIRST = 0, /* the first token comes sooner; a second after loading a thread copies them to large
                                   * pages, which are read faster. When pumice_timings.in_place_bytes has become 0 the
                                   * file is used by calls alone that were running then */
    PUMICE_IN_PLACE_ALWAYS = 1,   /* nothing is copied, the memory is the system's cache of the file */
    PUMICE_IN_PLACE_NEVER = 2     /* all is copied when pumice_model_load returns */
};

/* What a model was trained to predict, which is what pumice_session_score counts. */
enum {
    PUMICE_OBJECTIVE_CAUSAL = 0,         /* every token from those before it */
    PUMICE_OBJECTIVE_PREFIX = 1,         /* what follows a prefix (ChatGLM-6B) */
    PUMICE_OBJECTIVE_ENCODER_DECODER = 2 /* the decoder's tokens from the encoder's: restored spans,
                                            translations */
};

typedef struct pumice_model_info {
    uint32_t struct_size;
    char architecture[32];
    char name[128];
    char file_type[32]; /* such as "mostly Q8_0" */
    char license[64];
    uint64_t parameters; /* number of weights */
    uint64_t file_bytes;
    uint64_t weight_bytes; /* on the device, 0 for vocab_only */
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
    uint32_t n_ctx_train;                    /* the context the model was trained for, in tokens */
    int32_t token_bos, token_eos, token_unk; /* -1 = none */
    uint32_t tied_head;                      /* 1 = the head is the embedding table */
    char tokenizer[32];                      /* "llama", "gpt2" or "t5" */
    char rope_scaling[16]; /* "none", "linear", "ntk", "dynamic", "yarn", "llama3", "longrope"; "" = not known, for
                              files that cannot run here */
    uint64_t decode_bytes; /* of weights that one decoded token reads: the limit of decoding */
    uint64_t decode_flops; /* of matrices for one decoded token, a multiply-add is two */
    uint64_t head_flops;   /* the output matrix's part: a prompt needs it once */
    uint32_t n_encoder_layers;               /* 0 = decoder-only; n_layers is the decoder's */
    int32_t token_start; /* what an encoder-decoder's decoder begins with; -1 = none */
    uint32_t objective;  /* PUMICE_OBJECTIVE_* */
    char left_out[96];   /* tensors of other networks beside the one that writes, such as one that sees; "" = none */
} pumice_model_info;

/* Loads a model. Blocks for the upload; progress may cancel it. The device must outlive nothing: it
 * is kept alive by the model. */
PUMICE_API pumice_status pumice_model_load(pumice_device *device, const pumice_model_params *params,
                                           pumice_model **out_model, pumice_error *err);
PUMICE_API void pumice_model_destroy(pumice_model **model);
PUMICE_API pumice_status pumice_model_get_info(const pumice_model *model, pumice_model_info *info);

/* Of a rank other than 0: makes and runs this rank's part of every session that rank 0 creates, until
 * rank 0 destroys the model. What fails in between is told to rank 0, and is no failure here; fails
 * with INTERNAL when another rank cannot be reached: end the whole group then. INVALID on rank 0. */
PUMICE_API pumice_status pumice_model_serve(pumice_model *model, pumice_error *err);

/* ---- convert, quantize: a model to one GGUF file, as it is or with fewer bits ---- */

typedef struct pumice_quantized_tensor {
    uint32_t struct_size;
    char name[128];
    char type_before[16], type_after[16]; /* such as "F16" and "Q4_K"; equal: copied as it was */
    uint64_t rows, cols, bytes_before, bytes_after;
    double rms_error; /* root of the mean square error, relative to that of the values */
    double max_error; /* the largest error of a value */
    uint32_t fallback; /* 1 = rows are no whole number of the type's blocks: another was taken */
} pumice_quantized_tensor;

typedef struct pumice_quantize_params {
    uint32_t struct_size;
    const char *in_path;         /* a GGUF file (of a split model the first) or a Hugging Face directory */
    const char *out_path;        /* appears when it is complete; may be in_path */
    const char *type;            /* F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K_S, Q4_K_M, Q5_K_S,
                                    Q5_K_M, Q6_K; Q4_K and Q5_K mean their _M */
    pumice_progress_fn progress; /* bytes read of bytes in all; non-zero cancels */
    void *progress_user;
    void (*on_tensor)(void *user, const pumice_quantized_tensor *tensor); /* after each; may be NULL */
    void *on_tensor_user;
} pumice_quantize_params;

/* Rounds weights in F32, F16 or BF16 on the device. Norms, biases and other small tensors stay as they
 * are; the mixes _S and _M give some matrices more bits, as the common tools do. Needs memory for a few
 * chunks of 8 MiB, whatever the model's size. Blocking. On failure no file appears. */
PUMICE_API pumice_status pumice_quantize(pumice_device *device, const pumice_quantize_params *params,
                                         pumice_error *err);

/* The same for any source and target: params->type may be NULL (types stay as they are), and `device`
 * NULL for that and for F32, F16 and BF16. Of a directory the file has the tokenizer too, and names and
 * order of rows are those of llama.cpp, which opens it if it knows the architecture; without a tokenizer
 * the file says so ("none"). Fails with UNSUPPORTED if a tensor is quantized already and its type is to
 * change, with FORMAT if the model comes without weights. */
PUMICE_API pumice_status pumice_convert(pumice_device *device, const pumice_quantize_params *params,
                                        pumice_error *err);

/* One device's share of a model. */
typedef struct pumice_model_part {
    uint32_t struct_size;
    uint32_t first_layer, n_layers; /* of an encoder-decoder: the decoder's */
    uint64_t weight_bytes;
    uint64_t row_bytes; /* of one token's hidden state, which goes on to the next part; 0 = the last */
    uint32_t first_encoder_layer, n_encoder_layers; /* each count may be 0, not both */
} pumice_model_part;

/* The share of the index-th device of this process (struct_size set by the caller). False past the end. */
PUMICE_API int pumice_model_get_part(const pumice_model *model, uint32_t index,
                                     pumice_model_part *out_part);

/* Text to tokens. flags: PUMICE_TOKENIZE_*. Writes at most `capacity` ids and the number needed to
 * *out_count; returns PUMICE_OK even when capacity was too small (compare the count). */
enum {
    PUMICE_TOKENIZE_ADD_SPECIAL = 1,  /* add BOS/EOS as the model's metadata asks */
    PUMICE_TOKENIZE_PARSE_SPECIAL = 2 /* text such as "</s>" becomes the control token */
};
PUMICE_API pumice_status pumice_tokenize(const pumice_model *model, const char *text,
                                         size_t text_bytes, uint32_t flags, int32_t *tokens,
                                         size_t capacity, size_t *out_count);

/* Tokens to text, all at once: writes at most `capacity` bytes (no NUL) and the number needed to
 * *out_bytes. PUMICE_DETOKENIZE_SPECIAL also renders control tokens. Tokens that the model has beyond
 * its tokenizer's have no text. Bytes that are not UTF-8 come out as they are. */
enum { PUMICE_DETOKENIZE_SPECIAL = 1 };
PUMICE_API pumice_status pumice_detokenize(const pumice_model *model, const int32_t *tokens,
                                           size_t count, uint32_t flags, char *text,
                                           size_t capacity, size_t *out_bytes);

/* ---- chat ---------------------------------------------------------------------------------- */

typedef struct pumice_chat_message {
    const char *role; /* "system", "user", "assistant", or what the template knows besides */
    const char *content;
} pumice_chat_message;

typedef struct pumice_chat_params {
    uint32_t struct_size;
    uint32_t no_generation_prompt; /* 1 = do not end with the beginning of the assistant's turn */
    const pumice_chat_message *messages;
    size_t n_messages;
    const char *template_text;  /* a Jinja template to use instead of the model's own; NULL = that */
    const char *variables_json; /* a JSON object of more that the template may name, such as "tools"
                                   or "enable_thinking"; its members win over the usual ones */
    int64_t now; /* what the template takes for the time, in seconds since 1970; 0 = the clock's */
} pumice_chat_params;

typedef struct pumice_chat_result {
    uint32_t struct_size;
    uint32_t tokenize_flags; /* for pumice_tokenize of the text */
    const char *form;        /* NULL = a template was there; else the name of the form used instead,
                                such as "ChatML" (static) */
} pumice_chat_result;

/* Messages to the text that the model was trained to see, by its chat template (the file's own, or
 * a form known for its vocabulary). Writes at most `capacity` bytes (no NUL) and the number needed
 * to *out_bytes. Tokenize the text with out_result's flags. A template is bounded in time and
 * memory; what it refuses (raise_exception) or cannot do is INVALID, FORMAT or UNSUPPORTED, with
 * its line. out_result may be NULL. Thread-safe. */
PUMICE_API pumice_status pumice_chat_format(const pumice_model *model,
                                            const pumice_chat_params *params, char *text,
                                            size_t capacity, size_t *out_bytes,
                                            pumice_chat_result *out_result, pumice_error *err);

/* ---- session ------------------------------------------------------------------------------- */

typedef struct pumice_session pumice_session;

typedef int32_t pumice_kv_type;
enum {
    PUMICE_KV_DEFAULT = 0 /* f16 */,
    PUMICE_KV_F32 = 1,
    PUMICE_KV_F16 = 2,
    PUMICE_KV_Q8_0 = 3, /* 8.5 bits a value; heads of a multiple of 32 */
    PUMICE_KV_Q4_0 = 4  /* 4.5 bits a value; heads of a multiple of 32 */
};

/* What mat-vecs (passes of at most 8 rows) multiply quantized weights by. */
typedef int32_t pumice_activations;
enum {
    PUMICE_ACTIVATIONS_DEFAULT = 0 /* f32 */,
    PUMICE_ACTIVATIONS_F32 = 1, /* the same greedy tokens on every device */
    PUMICE_ACTIVATIONS_Q8 = 2   /* rounded to 8 bits in blocks of 32, on devices that gain by it (with a packed
                                   dot product); else, and in longer passes, f32. Results depend on the device,
                                   within the error of rounding (docs/performance.md). */
};

typedef struct pumice_session_params {
    uint32_t struct_size;
    uint32_t n_ctx_tokens;   /* per sequence; 0 = the model's own, at most 4096 */
    uint32_t n_sequences;    /* 0 = 1 */
    uint32_t n_batch_tokens; /* largest number of tokens computed at once; 0 = 256 */
    pumice_kv_type kv_type_k, kv_type_v;
    uint32_t no_fusion;     /* 1 = plan without fusions (tests) */
    uint32_t max_submit_us; /* predicted time per queue submit; 0 = the device's default */
    uint32_t profile;       /* 1 = time every dispatch; see pumice_profile.h */
    pumice_activations activations;
} pumice_session_params;

/* Creates a session: KV cache, activation arena, step buffer. Fails with DEVICE_MEMORY when they do
 * not fit. */
PUMICE_API pumice_status pumice_session_create(pumice_model *model,
                                               const pumice_session_params *params,
                                               pumice_session **out_session, pumice_error *err);
PUMICE_API void pumice_session_destroy(pumice_session **session);

/* The text of the session's last failure; "" if none. Valid until the next call on the session. */
PUMICE_API const char *pumice_session_error(const pumice_session *session);

/* Makes the running call on this session return PUMICE_ERROR_CANCELLED as soon as the current
 * submit ends. The session stays usable: sequences hold the tokens evaluated so far. Any thread. */
PUMICE_API void pumice_session_cancel(pumice_session *session);

/* Makes sequence `seq` consist of exactly `tokens`: keeps the KV cache of the common prefix with
 * what it holds, drops the rest and evaluates what is new, in chunks. Afterwards the logits of the
 * last token are available (pumice_session_logits) and pumice_session_next continues from it. count
 * must be > 0. */
PUMICE_API pumice_status pumice_session_sync(pumice_session *session, uint32_t seq,
                                             const int32_t *tokens, size_t count);

/* Makes the first n_tokens tokens of `seq` a prefix: they see each other in both directions, every
 * later token sees them and what came before it, as ever. With 0 (or 1) the sequence is causal.
 * PUMICE_PREFIX_MODEL, which is how every sequence begins, is what the model was trained with: 0 but
 * for ChatGLM-6B, whose prefix is what stands before its <sop> token. Any decoder-only model can be
 * given a prefix; what it makes of one it was not trained with is another question.
 *
 * The prefix stays until it is set again; pumice_session_clear leaves it. Setting another one than
 * before drops what the sequence holds. A prefix is computed in one pass, however small the batch,
 * since its tokens need each other's K and V: activations and step buffer grow to it, once, or the
 * call that needs it fails with DEVICE_MEMORY. It must be complete when it is evaluated: sync and
 * eval_logits fail with INVALID if they are given fewer tokens. */
enum { PUMICE_PREFIX_MODEL = -1 };
PUMICE_API pumice_status pumice_session_set_prefix(pumice_session *session, uint32_t seq,
                                                   int32_t n_tokens);

/* Encoder-decoders (T5, BART): gives `seq` its input. The encoder runs once, over all tokens in one
 * pass (activations and step buffer grow to it, as for a prefix), and the keys and values that the
 * decoder's layers make of its output are kept until the next encode or clear. The decoder then begins
 * anew: the sequence consists of the model's start token, and next and generate go on from there;
 * sync may give it other decoder tokens, the start token included. The same input again is not
 * computed again. At most the session's context of tokens; an EOS that the model wants is the
 * caller's to give (pumice_tokenize adds it). After a failure the sequence has no input. INVALID for
 * models without an encoder; without an input the other calls on a sequence of an encoder-decoder
 * are INVALID. */
PUMICE_API pumice_status pumice_session_encode(pumice_session *session, uint32_t seq,
                                               const int32_t *tokens, size_t count);

/* Copies the encoder's output for the input of `seq`: float32 [count][n_embd], the count that
 * pumice_session_encode was given. Runs the encoder again if other passes came between (with several
 * devices: if other inputs did). */
PUMICE_API pumice_status pumice_session_encoder_states(pumice_session *session, uint32_t seq,
                                                       float *out_states);

/* Number of tokens whose KV is cached in `seq`. */
PUMICE_API uint32_t pumice_session_length(const pumice_session *session, uint32_t seq);

/* Forgets all tokens of a sequence, also its encoder's input, and gives its pages back. */
PUMICE_API pumice_status pumice_session_clear(pumice_session *session, uint32_t seq);

/* Copies the logits [n_vocab] float32 after the last token of `seq`. */
PUMICE_API pumice_status pumice_session_logits(pumice_session *session, uint32_t seq,
                                               float *out_logits);

/* Evaluates `tokens` on an empty sequence and hands the logits of every position to `row`, in
 * order: float32 [n_vocab], valid during the call. A non-zero return of `row` cancels. */
typedef int (*pumice_logits_fn)(void *user, size_t position, const float *logits, uint32_t n_vocab);
PUMICE_API pumice_status pumice_session_eval_logits(pumice_session *session, uint32_t seq,
                                                    const int32_t *tokens, size_t count,
                                                    pumice_logits_fn row, void *user);

/* What the model makes of a token that it is shown. */
typedef struct pumice_token_score {
    float logprob; /* natural logarithm of its probability after the tokens before it; NaN if the
                      model's output is not a number */
    int32_t top;   /* the token that the model would have chosen there; -1: not scored */
} pumice_token_score;

/* Makes `seq` consist of `tokens`, as sync does (what is cached of a common beginning is kept), and
 * scores them from index `first` on; out_scores[i] belongs to tokens[i], those before first are
 * { 0, -1 }. Softmax is taken on the device, with sums in f32. first = 0 means what the model's
 * objective counts: all but the first token, or all that follow a prefix, or ChatGLM-6B's <sop>, or
 * an encoder-decoder's start token (the decoder's tokens begin with it). To score several endings
 * of one beginning, call it once for each: the beginning is computed once. A first inside a prefix
 * is possible, though those tokens have seen each other. INVALID if there is nothing to score. */
PUMICE_API pumice_status pumice_session_score(pumice_session *session, uint32_t seq,
                                              const int32_t *tokens, size_t count, size_t first,
                                              pumice_token_score *out_scores);

/* How the next token is chosen. All-zero = greedy (temperature 0). The chain is: top_k, top_p,
 * min_p on the probabilities at temperature 1, then temperature, then one draw from a counter-based
 * generator (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011):
 * the same seed on the same device gives the same tokens. */
typedef struct pumice_sampling {
    uint32_t struct_size;
    float temperature; /* <= 0: greedy */
    uint32_t top_k;    /* 0 = off */
    float top_p;       /* 0 or >= 1: off */
    float min_p;       /* 0 = off */
    uint64_t seed;
} pumice_sampling;

/* Chooses the next token of every given sequence from its last logits, appends it and evaluates it,
 * all sequences in one pass. out_tokens[i] belongs to seqs[i]. */
PUMICE_API pumice_status pumice_session_next(pumice_session *session, const uint32_t *seqs,
                                             uint32_t count, const pumice_sampling *sampling,
                                             int32_t *out_tokens);

/* Generates up to max_tokens tokens on one sequence; several may be in flight on the device.
 * `token` is called for each in order with its text (UTF-8, never half a sequence; may be empty);
 * return non-zero to stop. Ends at EOS unless ignore_eos. *out_count receives the number of tokens
 * given to the callback. Encoder-decoders may ask for a certain first token (a language, say) or for
 * EOS as the max_tokens-th: they are given to the callback like chosen ones, unless no_forced or
 * ignore_eos says otherwise. */
typedef struct pumice_generate_params {
    uint32_t struct_size;
    uint32_t max_tokens; /* 0 = up to the context's end */
    uint32_t ignore_eos;
    pumice_sampling sampling;
    int (*token)(void *user, int32_t token, const char *text, size_t text_bytes);
    void *user;
    uint32_t no_forced; /* 1 = only tokens that the model chose */
} pumice_generate_params;
PUMICE_API pumice_status pumice_session_generate(pumice_session *session, uint32_t seq,
                                                 const pumice_generate_params *params,
                                                 uint32_t *out_count);

/* Makes sequence `to` a copy of `from`: its tokens, its prefix, its encoder's input, all that is cached.
 * They share memory until one of them goes on. */
PUMICE_API pumice_status pumice_session_copy(pumice_session *session, uint32_t from, uint32_t to);

/* Beam search (usual with encoder-decoders): keeps the `count` likeliest continuations of seqs[0] at
 * each step, one in each of the given sequences, and gives the best that was found by the sum of its
 * log-probabilities over length ^ length_penalty. Ends when `count` texts have ended and no open one
 * can become better (as far as its present score tells), or after max_tokens. Afterwards seqs[0] is
 * what it was, the others are empty. Writes at most `capacity` tokens, with the token that ended it,
 * and their number to *out_count (it may be larger); out_score may be NULL. Forced tokens as in
 * pumice_generate_params. The candidates are ranked on the host: a row of logits for each beam and
 * step is read back. */
typedef struct pumice_beam_params {
    uint32_t struct_size;
    uint32_t max_tokens;      /* 0 = up to the context's end */
    float length_penalty;     /* exponent of the length; 0 = 1 */
    uint32_t no_repeat_ngram; /* no run of so many tokens comes twice, the prompt's included; 0 = off */
    uint32_t stop_early;      /* 1 = end as soon as `count` texts have ended */
    uint32_t ignore_eos;
    uint32_t no_forced;
} pumice_beam_params;
PUMICE_API pumice_status pumice_session_beam_search(pumice_session *session, const uint32_t *seqs,
                                                    uint32_t count,
                                                    const pumice_beam_params *params,
                                                    int32_t *out_tokens, size_t capacity,
                                                    size_t *out_count, float *out_score);

/* Times of the session so far, in nanoseconds of the host's monotonic clock. */
typedef struct pumice_timings {
    uint32_t struct_size;
    uint32_t n_prompt_tokens, n_decode_tokens;
    uint64_t prompt_ns, decode_ns;
    uint64_t plan_ns, pipeline_ns; /* planning and recording; creating pipelines */
    uint64_t submit_cpu_ns; /* CPU time of the calling thread alone in decode, which sleeps while it
                               waits; the driver's threads do not count, the text of tokens and the
                               caller's callback do; all tokens */
    uint64_t model_open_ns, model_upload_ns; /* of the model: read and checked; put on the device */
    uint64_t first_pass_ns; /* the first pass: some drivers compile only now */
    uint64_t self_test_ns;  /* comparing pipelines with a reference, at their first use with a driver */
    uint64_t model_ahead_ns; /* of the model: waiting for pipelines made ahead, when the weights were there */
    /* the model's weights, in bytes on the devices, by how they got there: not at all, the file's pages are used where
     * they are; as the file has them; brought into the devices' form by the host, or by a device; rounded to another
     * type while loaded */
    uint64_t in_place_bytes, copied_bytes, repacked_host_bytes, repacked_device_bytes, rounded_bytes;
    /* Several devices: how long each of this process's was at work on passes, added up; 0 with one. Over the time that
     * went by it is how many were at work at once, on average. */
    uint64_t devices_busy_ns;
} pumice_timings;
PUMICE_API pumice_status pumice_session_get_timings(const pumice_session *session,
                                                    pumice_timings *out_timings);

/* Bytes of device memory in this process: weights belong to the model, the rest to the session. */
typedef struct pumice_memory {
    uint32_t struct_size;
    uint64_t weights_bytes, kv_bytes, activation_bytes, step_bytes;
} pumice_memory;
PUMICE_API pumice_status pumice_session_get_memory(const pumice_session *session,
                                                   pumice_memory *out_memory);

#ifdef __cplusplus
}
#endif

#endif
