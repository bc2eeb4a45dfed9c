/* SPDX-License-Identifier: Apache-2.0
 * Rows of tensors that lie elsewhere in another order (pum_gguf_part), for gguf_build.c. */
#ifndef PUM_GGUF_ROWS_H
#define PUM_GGUF_ROWS_H

#include "gguf.h"

/* Fails with INTERNAL unless the parts give exactly `rows` rows and stay within their sources. */
pumice_status pum_gguf_parts_check(const pum_gguf *gguf, const char *name,
                                   const pum_gguf_tensor *tensor, const pum_gguf_part *parts,
                                   uint64_t rows, pumice_error *err);
/* Where the bytes of the tensor's parts lie if that is one piece, in order and of the tensor's
 * type; else NULL. */
const uint8_t *pum_gguf_in_one_piece(const pum_gguf_tensor *tensor);
/* Bytes of a value's payload. */
uint64_t pum_gguf_payload_bytes(const pum_gguf_value *value);

#endif
