/* SPDX-License-Identifier: Apache-2.0
 * What a caller wants a device to be less than it is: capabilities switched off, limits lowered, quirks forced. With
 * these every path can be run on every machine. They only ever take away, but for a transfer queue, which may be
 * emulated, and a packed dot product that counts as fast. Pure; thread-safe. */
#ifndef PUM_WISHES_H
#define PUM_WISHES_H

#include "caps.h"

typedef struct pum_caps_wishes {
    uint32_t disable_bits;          /* PUM_CAP_* to switch off */
    uint32_t quirks_on, quirks_off; /* rows of quirks.def to force */
    uint32_t force_bits;            /* PUM_CAP_* to have whatever the device and its family's row are: TRANSFER (maybe
                                       the only queue under another name), REPACK, HOST_IMPORT, DOT8_FAST (where
                                       there is DOT8) */
    /* limits; 0 = the device's */
    uint32_t subgroup_size, max_workgroup_invocations, shared_memory_bytes, max_push_bytes, max_storage_buffers,
        offset_align_bytes;
    uint64_t max_buffer_range_bytes, max_allocation_bytes;
} pum_caps_wishes;

/* Reads what the caller wrote; each may be NULL:
 *   disable  names of capabilities, "sub,f16"
 *   caps     NAME=VALUE,...: limits ("subgroup=16,shared=16K,invocations=128,range=64M,align=4K,allocation=1G,
 *            push=128,buffers=8"), any capability's name with 0 ("unified=0"), and "transfer=1", "repack=1",
 *            "host-import=1" or "fast-dot8=1"
 *   quirks   "NAME=on,NAME=off" */
bool pum_caps_wishes_parse(const char *disable, const char *caps, const char *quirks, pum_caps_wishes *out_wishes,
                           pumice_error *err);
/* Applies the quirks that match or are forced, then takes away the rest. Needs caps->family. A limit that is not below
 * the device's own changes nothing. */
void pum_caps_wishes_apply(const pum_caps_wishes *wishes, pum_caps *caps);

/* pum_caps_profile (caps.h) with wishes. */
bool pum_caps_profile_wish(const char *name, const pum_caps_wishes *wishes, pum_caps *out_caps);

#endif
