/* SPDX-License-Identifier: Apache-2.0
 * What the files of vk/ share and nobody else sees: the instance with its own function table, a
 * snapshot of a physical device, and the device object, a struct of parts that each belong to one
 * file (queue.c, memory.c, pipeline.c). */
#ifndef PUM_VK_INTERNAL_H
#define PUM_VK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "task.h"
#include "vk.h"

/* ---- loader.c: entry points ---- */

/* Functions found without an instance. */
#define PUM_VK_GLOBAL_FUNCTIONS(X)                                                                 \
    X(vkCreateInstance)                                                                            \
    X(vkEnumerateInstanceLayerProperties)                                                          \
    X(vkEnumerateInstanceExtensionProperties)
/* Functions every instance of Vulkan 1.1 has. */
#define PUM_VK_INSTANCE_FUNCTIONS(X)                                                               \
    X(vkDestroyInstance)                                                                           \
    X(vkEnumeratePhysicalDevices)                                                                  \
    X(vkEnumerateDeviceExtensionProperties)                                                        \
    X(vkGetPhysicalDeviceProperties)                                                               \
    X(vkGetPhysicalDeviceProperties2)                                                              \
    X(vkGetPhysicalDeviceFeatures2)                                                                \
    X(vkGetPhysicalDeviceMemoryProperties2)                                                        \
    X(vkGetPhysicalDeviceQueueFamilyProperties2)                                                   \
    X(vkCreateDevice)                                                                              \
    X(vkGetDeviceProcAddr)
/* Functions that may be absent. */
#define PUM_VK_OPTIONAL_FUNCTIONS(X)                                                               \
    X(vkCreateDebugUtilsMessengerEXT)                                                              \
    X(vkDestroyDebugUtilsMessengerEXT)                                                             \
    X(vkSetDebugUtilsObjectNameEXT)                                                                \
    X(vkCmdBeginDebugUtilsLabelEXT)                                                                \
    X(vkCmdEndDebugUtilsLabelEXT)

/* VK_KHR_cooperative_matrix is younger than the headers this is built with: one product a device has. */
typedef struct pum_vk_coop_product {
    VkStructureType sType;
    void *pNext;
    uint32_t m, n, k;
    int32_t a_type, b_type, c_type, result_type; /* VkComponentTypeKHR */
    VkBool32 saturating;
    int32_t scope; /* VkScopeKHR */
} pum_vk_coop_product;
typedef VkResult(VKAPI_PTR *pum_vk_get_coop_products)(VkPhysicalDevice, uint32_t *, pum_vk_coop_product *);

typedef struct pum_vk_functions {
#define X(name) PFN_##name name;
    PUM_VK_GLOBAL_FUNCTIONS(X)
    PUM_VK_INSTANCE_FUNCTIONS(X)
    PUM_VK_OPTIONAL_FUNCTIONS(X)
#undef X
    PFN_vkEnumerateInstanceVersion vkEnumerateInstanceVersion; /* absent in a 1.0 loader */
    pum_vk_get_coop_products get_coop_products;                /* may be absent */
} pum_vk_functions;

/* The loader looks for an object's device in its lists of instances and devices when the object gets a name, and takes
 * no lock for that (1.3.239 crashes). So nothing is named while either is created or destroyed. */
void pum_vk_lists_lock(void);
void pum_vk_lists_unlock(void);
/* The given vkGetInstanceProcAddr, or the system loader's; NO_DEVICE when there is no loader. */
pumice_status pum_vk_loader_open(void *given, PFN_vkGetInstanceProcAddr *out_get,
                                 pumice_error *err);
pumice_status pum_vk_load_global(PFN_vkGetInstanceProcAddr get, pum_vk_functions *f,
                                 pumice_error *err);
pumice_status pum_vk_load_instance(PFN_vkGetInstanceProcAddr get, VkInstance instance,
                                   pum_vk_functions *f, pumice_error *err);
void pum_vk_load_device(const pum_vk_functions *f, VkDevice device,
                        struct VolkDeviceTable *out_table);

/* ---- instance.c ---- */

/* What the messenger's callback writes to: lives as long as the instance. */
typedef struct pum_vk_messages {
    pum_log log;
    atomic_uint_fast64_t count;
} pum_vk_messages;

typedef struct pum_vk_instance {
    VkInstance handle;
    uint32_t version; /* what was asked for: min(the loader's, 1.3) */
    pum_vk_functions f;
    VkDebugUtilsMessengerEXT messenger;
    pum_vk_messages *messages; /* NULL without validation */
    PUM_ARRAY(VkPhysicalDevice) devices;
} pum_vk_instance;

pumice_status pum_vk_instance_create(const pum_vk_params *params, pum_vk_instance *out_instance,
                                     pumice_error *err);
void pum_vk_instance_destroy(pum_vk_instance *instance);
/* Name of a result ("VK_ERROR_DEVICE_LOST"), and a failure of a call made before there is a device.
 */
const char *pum_vk_result_name(VkResult result);
pumice_status pum_vk_fail_early(VkResult result, const char *what, pumice_error *err);

/* ---- snapshot.c ---- */

/* VK_KHR_cooperative_matrix, which is younger than the headers this is built with. */
typedef struct pum_vk_coop_features {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} pum_vk_coop_features;
#define PUM_VK_COOP_STYPE ((VkStructureType)1000506000)

/* The optional features asked of a device: X(member, struct, sType, core since (0 = never),
 * extension before). */
#define PUM_VK_FEATURE_ROWS(X)                                                                     \
    X(storage16, VkPhysicalDevice16BitStorageFeatures,                                             \
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES, VK_API_VERSION_1_1, NULL)          \
    X(storage8, VkPhysicalDevice8BitStorageFeatures,                                               \
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES, VK_API_VERSION_1_2,                 \
      VK_KHR_8BIT_STORAGE_EXTENSION_NAME)                                                          \
    X(float16, VkPhysicalDeviceShaderFloat16Int8Features,                                          \
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES, VK_API_VERSION_1_2,          \
      VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME)                                                   \
    X(timeline, VkPhysicalDeviceTimelineSemaphoreFeatures,                                         \
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES, VK_API_VERSION_1_2,           \
      VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME)                                                    \
    X(query_reset, VkPhysicalDeviceHostQueryResetFeatures,                                         \
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_HOST_QUERY_RESET_FEATURES, VK_API_VERSION_1_2,             \
      VK_EXT_HOST_QUERY_RESET_EXTENSION_NAME)                                                      \
    X(memory_model, VkPhysicalDeviceVulkanMemoryModelFeatures,                                     \
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES, VK_API_VERSION_1_2,          \
      VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME)                                                   \
    X(size_control, VkPhysicalDeviceSubgroupSizeControlFeatures,                                   \
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES, VK_API_VERSION_1_3,        \
      VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)                                                 \
    X(dot8, VkPhysicalDeviceShaderIntegerDotProductFeatures,                                       \
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES, VK_API_VERSION_1_3,   \
      VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME)                                            \
    X(coop, pum_vk_coop_features, PUM_VK_COOP_STYPE, 0, "VK_KHR_cooperative_matrix")

enum {
#define X(member, type, stype, core, extension) PUM_VK_FEATURE_##member,
    PUM_VK_FEATURE_ROWS(X)
#undef X
    PUM_VK_FEATURE_COUNT
};

typedef struct pum_vk_features {
    VkPhysicalDeviceFeatures2 head;
#define X(member, type, stype, core, extension) type member;
    PUM_VK_FEATURE_ROWS(X)
#undef X
    bool known[PUM_VK_FEATURE_COUNT];            /* the struct may be chained on this device */
    const char *extension[PUM_VK_FEATURE_COUNT]; /* to enable for it; NULL where it is core */
} pum_vk_features;

typedef struct pum_vk_snapshot {
    VkPhysicalDevice physical;
    pum_caps caps;
    char uuid[33];
    uint8_t cache_uuid[VK_UUID_SIZE];
    char why_not[128]; /* "" = usable */
    uint32_t version;  /* min(the device's, the instance's) */
    uint32_t queue_family, timestamp_bits;
    uint32_t transfer_family, transfer_index; /* of uploads, with PUM_CAP_TRANSFER; may be the queue that computes */
    uint64_t atom_bytes; /* nonCoherentAtomSize */
    bool portability;    /* VK_KHR_portability_subset must be enabled */
    uint32_t subgroup_size; /* the driver's own, of pipelines that ask for none; caps have what is planned for */
    pum_vk_features features;
    VkPhysicalDeviceMemoryProperties memory;
} pum_vk_snapshot;

/* Reads everything; fails only when the driver does. The params' wishes are applied. */
pumice_status pum_vk_snapshot_make(const pum_vk_instance *instance, VkPhysicalDevice physical,
                                   const pum_vk_params *params, pum_vk_snapshot *out_snapshot,
                                   pumice_error *err);
/* Chains the features that the capability bits stand for, each with only the members used switched
 * on, and lists the extensions they need; returns the chain's head for VkDeviceCreateInfo.pNext. */
enum { PUM_VK_MAX_EXTENSIONS = PUM_VK_FEATURE_COUNT + 3 };
const void *pum_vk_features_enable(pum_vk_snapshot *snapshot,
                                   const char *out_extensions[PUM_VK_MAX_EXTENSIONS],
                                   uint32_t *out_count);
/* Free bytes of a heap now (VK_EXT_memory_budget), UINT64_MAX where the driver does not tell. */
uint64_t pum_vk_heap_free_bytes(const pum_vk_instance *instance, const pum_vk_snapshot *snapshot,
                                uint32_t heap);

/* ---- the device and its parts ---- */

/* queue.c */
typedef struct pum_vk_pending {
    VkFence fence;
    uint64_t ticket;
    uint32_t waiters;
} pum_vk_pending;

typedef struct pum_vk_queue {
    pthread_mutex_t lock;
    VkQueue handle;
    VkQueue transfer;     /* for uploads; the same where there is no other */
    uint64_t last;        /* ticket of the last submit */
    bool last_upload;     /* which went to `transfer` */
    uint64_t done;        /* every ticket up to here has finished, as far as seen */
    VkSemaphore timeline; /* VK_NULL_HANDLE on the fence path */
    PFN_vkWaitSemaphores wait_semaphores;
    PFN_vkGetSemaphoreCounterValue get_counter;
    PUM_ARRAY(pum_vk_pending) pending; /* fence path: in ticket order */
    PUM_ARRAY(VkFence) idle;           /* fence path: unsignalled, ready for use */
} pum_vk_queue;

pumice_status pum_vk_queue_init(pum_vk_device *device, pumice_error *err);
void pum_vk_queue_free(pum_vk_device *device);
/* Submits commands of the staging ring's upload pool to the transfer queue, or where there is none to the one that
 * computes; tickets as of pum_vk_submit. */
pumice_status pum_vk_submit_upload(pum_vk_device *device, VkCommandBuffer commands, uint64_t *out_ticket,
                                   pumice_error *err);

/* memory.c */
enum { PUM_VK_CHUNKS = 4, PUM_VK_CHUNK_BYTES = 4 << 20 };

typedef struct pum_vk_staging {
    pthread_mutex_t lock;
    pum_vk_buffer buffer; /* PUM_VK_CHUNKS * PUM_VK_CHUNK_BYTES, made at the first use */
    VkCommandPool pool, upload_pool; /* the second with PUM_CAP_TRANSFER alone */
    VkCommandBuffer commands[PUM_VK_CHUNKS], upload_commands[PUM_VK_CHUNKS]; /* the same without it */
    uint64_t ticket[PUM_VK_CHUNKS]; /* of the copy under way; 0 = none */
    uint32_t next;                  /* chunk of a stream's next copy */
} pum_vk_staging;

pumice_status pum_vk_memory_init(pum_vk_device *device, pumice_error *err);
void pum_vk_memory_free(pum_vk_device *device);

/* pipeline.c and pipeline_cache.c */
typedef struct pum_vk_pipeline_slot {
    pum_vk_pipeline_key key;
    VkPipeline pipeline; /* VK_NULL_HANDLE = free slot */
} pum_vk_pipeline_slot;

enum { PUM_VK_MAX_LAYOUTS = 24 };

typedef struct pum_vk_pipelines {
    pthread_mutex_t lock;
    pum_vk_pipeline_slot *slots; /* open addressing; capacity a power of two */
    size_t count, capacity;
    struct pum_vk_layout {
        uint32_t n_bindings, texel_bits; /* bit i: binding i is a texel buffer */
        VkDescriptorSetLayout set;
        VkPipelineLayout pipeline;
    } layout[PUM_VK_MAX_LAYOUTS];
    uint32_t n_layouts;
    uint8_t layout_of[PUM_KERNEL_COUNT];
    VkPipelineCache cache;        /* VK_NULL_HANDLE without a cache folder */
    char *cache_dir, *cache_path; /* NULL without a cache folder */
    uint64_t cache_hash;          /* of the data the file holds, 0 = no usable file */
    size_t cache_saved_count;     /* pipelines at the last save */
} pum_vk_pipelines;

pumice_status pum_vk_pipelines_init(pum_vk_device *device, const char *cache_dir,
                                    pumice_error *err);
void pum_vk_pipelines_free(pum_vk_device *device);
/* "FOLDER/DEVICE-DRIVER-SHADERS.ENDING", the caller's to free; NULL without memory. */
char *pum_vk_cache_file(const pum_vk_device *device, const char *cache_dir, const char *ending);
pumice_status pum_vk_pipeline_cache_load(pum_vk_device *device, const char *cache_dir,
                                         pumice_error *err);

/* first_use.c */
typedef struct pum_vk_first_use {
    pthread_mutex_t lock;
    VkCommandPool commands;
    VkDescriptorPool descriptors;
    VkDescriptorSet sets[PUM_VK_MAX_LAYOUTS];
    pum_vk_buffer buffer;
    VkBufferView view; /* of all of it; VK_NULL_HANDLE where kernels read no texels */
    uint64_t last;     /* ticket */
    bool have_lock;
} pum_vk_first_use;

pumice_status pum_vk_first_use_init(pum_vk_device *device, pumice_error *err);
/* Before the pipelines; the device must be idle. */
void pum_vk_first_use_free(pum_vk_device *device);
/* Lets a driver that compiles late begin; of other drivers nothing is asked. Does not wait. Thread-safe. */
pumice_status pum_vk_first_use_begin(pum_vk_device *device, uint32_t kernel, VkPipeline pipeline, pumice_error *err);
/* Until all of these have ended, after which pipelines may be destroyed. */
void pum_vk_first_use_wait(pum_vk_device *device);

/* twin.c: a second device that compiles some of the pipelines for the driver's own cache */
typedef struct pum_vk_twin {
    bool is_possible;
    char select[16]; /* params.select */
    pum_vk_params params;
} pum_vk_twin;

/* What it does while the first device does the rest. */
typedef struct pum_vk_twin_work {
    pum_task task;
    const pum_vk_params *params;
    const pum_vk_pipeline_key *keys;
    size_t count;
} pum_vk_twin_work;

/* About how many milliseconds a late compiler takes for a pipeline of the kernel. */
uint32_t pum_vk_compile_cost(uint32_t kernel);
/* After the snapshot. */
void pum_vk_twin_init(pum_vk_device *device, const pum_vk_params *params);
/* Moves the keys that the twin takes to the end and returns their number, often 0; until the end nobody else should
 * have them compiled. The keys, what takes the longest first, must live until then. */
size_t pum_vk_twin_begin(pum_vk_device *device, pum_vk_pipeline_key *keys, size_t count, pum_vk_twin_work *out_work);
void pum_vk_twin_end(pum_vk_twin_work *twin);

/* proven.c */
typedef struct pum_vk_proven {
    pthread_mutex_t lock; /* guards what follows and the capabilities' distrusted kernels */
    PUM_ARRAY(uint64_t) names;
    char *path; /* NULL without a cache folder */
    bool have_lock, changed;
} pum_vk_proven;

pumice_status pum_vk_proven_init(pum_vk_device *device, pumice_error *err);
void pum_vk_proven_free(pum_vk_device *device);

struct pum_vk_device {
    pum_vk_instance instance;
    pum_vk_snapshot snapshot;
    uint32_t index;
    pum_log log;
    VkDevice handle;
    struct VolkDeviceTable table;
    uint64_t budget_bytes; /* the caller's; 0 = none */
    atomic_bool lost;
    atomic_uint_fast64_t used_bytes;
    pum_vk_queue queue;
    pum_vk_staging staging;
    pum_vk_pipelines pipelines;
    pum_vk_first_use first_use;
    pum_vk_proven proven;
    pum_vk_twin twin;
    const pum_vk_kernel_words *replaced;
    bool have_queue_lock, have_staging_lock, have_pipelines_lock;
};

/* Names an object in validation messages and tools. */
void pum_vk_name(const pum_vk_device *device, VkObjectType type, uint64_t handle, const char *text);

#endif
