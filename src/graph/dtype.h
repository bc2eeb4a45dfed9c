/* SPDX-License-Identifier: Apache-2.0
 * Storage types of tensors, generated from dtype.def: sizes, and how rows lie in a file and on the
 * device. The bit layouts are in shaders/lib/quant/ (device) and ref/ (host truth). Pure;
 * thread-safe. */
#ifndef PUM_DTYPE_H
#define PUM_DTYPE_H

#include "base.h"

typedef enum pum_dtype {
#define PUM_DTYPE(id, ...) PUM_DTYPE_##id,
#include "dtype.def"
#undef PUM_DTYPE
    PUM_DTYPE_COUNT
} pum_dtype;

/* Bytes [at, at + bytes) of every block of a row, back to back on the device: see dtype.def. */
typedef struct pum_plane {
    uint32_t at, bytes;
} pum_plane;

enum { PUM_MAX_PLANES = 3 };

typedef struct pum_dtype_info {
    const char *name;
    int32_t gguf_type;
    uint32_t block_elems, block_bytes;
    bool is_weight, is_kv;
    pum_plane planes[PUM_MAX_PLANES]; /* bytes = 0: no such plane */
    int32_t codebook;                 /* first entry of its codebook in pum_codebooks; -1: it has none */
} pum_dtype_info;

/* The codebooks of all formats, one behind the other (codebooks.c). */
enum { PUM_CODEBOOK_ENTRIES = 4608 };
extern const uint16_t pum_codebooks[PUM_CODEBOOK_ENTRIES];

const pum_dtype_info *pum_dtype_get(pum_dtype type); /* NULL when out of range */
/* Finds a type by its ggml number; false if there is no row for it. */
bool pum_dtype_from_gguf(uint32_t gguf_type, pum_dtype *out_type);
/* Finds a type by name, ignoring case; false if unknown. */
bool pum_dtype_from_name(const char *name, pum_dtype *out_type);
/* Bytes of a row of `cols` elements in a file; false when cols is not a whole number of blocks or
 * on overflow. */
bool pum_dtype_row_bytes(pum_dtype type, uint64_t cols, uint64_t *out_bytes);
/* The same on the device. */
bool pum_dtype_device_row_bytes(pum_dtype type, uint64_t cols, uint64_t *out_bytes);
/* Turns `rows` rows from the file's form to the device's, padding with zeros, and back; `cols` is
 * a whole number of blocks. */
void pum_dtype_pack_rows(pum_dtype type, uint64_t rows, uint64_t cols, const void *file,
                         void *out_device);
void pum_dtype_unpack_rows(pum_dtype type, uint64_t rows, uint64_t cols, const void *device,
                           void *out_file);
/* Values of F32, F16 or BF16 at any address, to F32 (exact) and back (to the nearest, ties to
 * even; NaN stays NaN). */
void pum_dtype_to_f32(pum_dtype type, const void *src, uint64_t count, float *out);
void pum_dtype_from_f32(pum_dtype type, const float *src, uint64_t count, void *out);

#endif
