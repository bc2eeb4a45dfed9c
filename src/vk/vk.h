/* SPDX-License-Identifier: Apache-2.0
 * The Vulkan layer: loader, instance, device, memory, pipelines, queries. Knows kernels by index
 * and buffers by handle; knows nothing of plans or models. Included by vk/, exec/ and api/ only.
 * Thread safety: a pum_vk_device may be used from any thread (queue, pipeline cache and pools are
 * locked inside); a buffer or recording belongs to one thread at a time. */
#ifndef PUM_VK_H
#define PUM_VK_H

#include "caps.h"
#include "kernel.h"
#include "wishes.h"

#define VK_NO_PROTOTYPES
#include <volk.h>

typedef struct pum_vk_device pum_vk_device;

/* Other code for a kernel, for tests of what happens when one computes something wrong. */
typedef struct pum_vk_kernel_words {
    uint32_t kernel;
    const uint32_t *words;
    size_t bytes;
} pum_vk_kernel_words;

typedef struct pum_vk_params {
    const char *select;           /* as pumice_device_params.select */
    uint32_t disable_bits;        /* PUM_CAP_* to switch off, besides the wishes' */
    pum_caps_wishes wishes;       /* what to make less of */
    bool validation;              /* Khronos validation with synchronization validation */
    uint64_t memory_budget_bytes; /* 0 = the device's */
    const char *cache_dir;        /* NULL = no pipeline cache file */
    bool no_twin;                 /* of what is compiled late, nothing at the same time (twin.c) */
    pum_log log;
    void *get_instance_proc_addr; /* PFN_vkGetInstanceProcAddr or NULL */
    const pum_vk_kernel_words *replaced; /* NULL outside tests; must outlive the device */
} pum_vk_params;

/* Calls `visit` with the capabilities of every physical device, its uuid (32 hex digits) and, when
 * Pumice cannot run on it, the reason (else ""). */
typedef void (*pum_vk_visit)(void *user, uint32_t index, const pum_caps *caps, const char *uuid,
                             const char *why_not);
pumice_status pum_vk_list(const pum_vk_params *params, pum_vk_visit visit, void *user,
                          pumice_error *err);

pumice_status pum_vk_device_create(const pum_vk_params *params, pum_vk_device **out_device,
                                   pumice_error *err);
void pum_vk_device_destroy(pum_vk_device **device);
const pum_caps *pum_vk_device_caps(const pum_vk_device *device);
const char *pum_vk_device_uuid(const pum_vk_device *device);
uint32_t pum_vk_device_index(const pum_vk_device *device);
const pum_log *pum_vk_device_log(const pum_vk_device *device);
uint64_t pum_vk_validation_count(const pum_vk_device *device);
/* Sticky after VK_ERROR_DEVICE_LOST. */
bool pum_vk_device_is_lost(const pum_vk_device *device);
/* Device memory this device object has allocated. */
uint64_t pum_vk_device_used_bytes(const pum_vk_device *device);
/* What it may allocate besides: of the caller's budget, or what the driver tells. */
uint64_t pum_vk_device_room_bytes(const pum_vk_device *device);

/* ---- buffers: one VkBuffer with its own memory ---- */
typedef enum pum_vk_use {
    PUM_VK_DEVICE,  /* weights, KV, arena: device-local; host-mapped only on unified memory */
    PUM_VK_SHARED,  /* step buffer: host-visible coherent, device-local too where possible; always
                       mapped */
    PUM_VK_READBACK /* host-visible cached; always mapped */
} pum_vk_use;

typedef struct pum_vk_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t size_bytes;
    uint64_t spare_bytes;     /* of the VkBuffer behind size_bytes: texel views may reach there */
    uint64_t allocated_bytes; /* what the memory takes: size_bytes, spare_bytes and the driver's rounding */
    void *mapped;             /* NULL when the host cannot see it */
    bool imported; /* `mapped` is the host's own memory: never written */
    bool coherent; /* false: only pum_vk_buffer_read and _write may be used, not `mapped` itself */
} pum_vk_buffer;

/* Fails with DEVICE_MEMORY (says how much was asked, used and allowed), leaving *out_buffer zero.
 * `what` names it in messages and debug labels. */
pumice_status pum_vk_buffer_create(pum_vk_device *device, pum_vk_use use, uint64_t bytes,
                                   const char *what, pum_vk_buffer *out_buffer, pumice_error *err);
/* A buffer over `bytes` of the host's own memory at `host`, whole pages that are only read, which must
 * stay as they are until it is destroyed. Takes no budget: the memory is the host's already. Fails,
 * for the caller to do without, where the device cannot (PUM_CAP_HOST_IMPORT) or the driver refuses. */
enum { PUM_VK_PAGE_BYTES = PUM_PAGE_BYTES };
pumice_status pum_vk_buffer_import(pum_vk_device *device, const void *host, uint64_t bytes,
                                   const char *what, pum_vk_buffer *out_buffer, pumice_error *err);
void pum_vk_buffer_destroy(pum_vk_device *device, pum_vk_buffer *buffer);
/* How long a texel view of these bytes is to be: the whole texels of them, and where the driver compiles pipelines
 * again for other lengths (PUM_FLAG_LATE_COMPILE), a little more, which no kernel reads. */
uint64_t pum_vk_texel_range(const pum_vk_device *device, const pum_vk_buffer *buffer, uint64_t offset, uint64_t bytes);
/* Host -> device and device -> host; through mapped memory or the staging ring. Blocking; the
 * caller guarantees that no submitted work uses the range. */
pumice_status pum_vk_buffer_write(pum_vk_device *device, pum_vk_buffer *buffer, uint64_t offset,
                                  const void *data, uint64_t bytes, pumice_error *err);
pumice_status pum_vk_buffer_read(pum_vk_device *device, pum_vk_buffer *buffer, uint64_t offset,
                                 void *data, uint64_t bytes, pumice_error *err);
pumice_status pum_vk_buffer_fill(pum_vk_device *device, pum_vk_buffer *buffer, uint64_t offset,
                                 uint64_t bytes, uint32_t word, pumice_error *err);

/* Copies ranges of a buffer to others of it, all in one submit. Sources and targets must not overlap.
 * Blocking, as above. */
typedef struct pum_vk_move {
    uint64_t from, to, bytes;
} pum_vk_move;
pumice_status pum_vk_buffer_move(pum_vk_device *device, pum_vk_buffer *buffer,
                                 const pum_vk_move *moves, size_t count, pumice_error *err);

/* Host -> device without waiting: `count` items of item_bytes, one behind the other, which `produce`
 * writes straight into the device's memory or into the staging ring, some at a time, while what it
 * wrote before is on its way. Work submitted later sees them. The buffer must live until
 * pum_vk_stream_end or a failure of this, which wait for the copies. */
typedef void (*pum_vk_produce_fn)(void *user, void *to, uint64_t first, uint64_t count);
pumice_status pum_vk_buffer_stream(pum_vk_device *device, pum_vk_buffer *buffer, uint64_t offset,
                                   uint64_t item_bytes, uint64_t count, pum_vk_produce_fn produce,
                                   void *user, pumice_error *err);
pumice_status pum_vk_stream_end(pum_vk_device *device, pumice_error *err);

/* ---- pipelines: one per (kernel, specialisation constants), made on demand, kept by the device
 * ---- */
typedef struct pum_vk_pipeline {
    VkPipeline pipeline;
    VkPipelineLayout layout;
    VkDescriptorSetLayout set_layout;
} pum_vk_pipeline;
typedef struct pum_vk_pipeline_key {
    uint32_t kernel;
    uint32_t spec[PUM_MAX_SPEC]; /* n_spec of the kernel; the rest zero */
} pum_vk_pipeline_key;
/* Has this pipeline computed on this driver version what the reference says (exec/)? */
bool pum_vk_is_proven(pum_vk_device *device, const pum_vk_pipeline_key *key);
void pum_vk_set_proven(pum_vk_device *device, const pum_vk_pipeline_key *key);
/* No plan for pum_vk_trusted_caps uses the kernel any more, now and in later runs with this driver. */
void pum_vk_distrust(pum_vk_device *device, uint32_t kernel);
/* The capabilities with what is distrusted so far. */
void pum_vk_trusted_caps(pum_vk_device *device, pum_caps *out_caps);

/* Creates all that are missing, on up to one thread per core; then pum_vk_pipeline_get cannot fail
 * for them. */
pumice_status pum_vk_pipelines_prepare(pum_vk_device *device, const pum_vk_pipeline_key *keys,
                                       size_t count, pumice_error *err);
pumice_status pum_vk_pipeline_get(pum_vk_device *device, const pum_vk_pipeline_key *key,
                                  pum_vk_pipeline *out_pipeline, pumice_error *err);
/* Writes the pipeline cache file if it would differ from what is there; called by destroy too.
 * Errors are only logged, at debug level. */
void pum_vk_pipeline_cache_save(pum_vk_device *device);

/* ---- for exec/ ---- */
/* Of all texel buffers: PUM_TEXEL_BYTES each. */
#define PUM_VK_TEXEL_FORMAT VK_FORMAT_R32G32B32A32_UINT
const struct VolkDeviceTable *pum_vk_table(const pum_vk_device *device);
VkDevice pum_vk_handle(const pum_vk_device *device);
uint32_t pum_vk_queue_family(const pum_vk_device *device);
/* Submits command buffers as one batch. *out_ticket is a rising number (never 0) that pum_vk_wait
 * takes. Locked inside. Tickets finish in order. */
pumice_status pum_vk_submit(pum_vk_device *device, const VkCommandBuffer *buffers, uint32_t count,
                            uint64_t *out_ticket, pumice_error *err);
/* Waits until the ticket's work is done (timeline semaphore, or a fence per submit where there are
 * none). */
pumice_status pum_vk_wait(pum_vk_device *device, uint64_t ticket, pumice_error *err);
bool pum_vk_done(pum_vk_device *device, uint64_t ticket); /* without waiting */
/* Waits until the device has nothing left to do, as well as a failing driver lets it; for clean-up
 * paths. */
void pum_vk_idle(pum_vk_device *device);
/* Status and sentence for a failed Vulkan call; marks the device lost when it is. */
pumice_status pum_vk_fail(pum_vk_device *device, VkResult result, const char *what,
                          pumice_error *err);
/* Width of a timestamp on the device's queue, in bits; 0 = no timestamps. */
uint32_t pum_vk_timestamp_bits(const pum_vk_device *device);
/* Labels around commands for validation messages and GPU tools; nothing unless the device was
 * created with validation. */
void pum_vk_label_begin(const pum_vk_device *device, VkCommandBuffer commands, const char *text);
void pum_vk_label_end(const pum_vk_device *device, VkCommandBuffer commands);

#endif
