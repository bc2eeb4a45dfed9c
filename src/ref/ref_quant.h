/* SPDX-License-Identifier: Apache-2.0
 * What the files of weight formats share. Not included outside ref/. */
#ifndef PUM_REF_QUANT_H
#define PUM_REF_QUANT_H

#include "ref.h"

static inline uint16_t ref_load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline void ref_store_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* The 16 levels of IQ4_NL and IQ4_XS, and the number of the one nearest to v. */
extern const int8_t ref_iq4_levels[16];
int ref_iq4_nearest(double v);

/* One block: bytes -> values, values -> bytes (ref_quant_k.c). */
#define REF_FORMAT(x)                                                                              \
    void ref_##x##_read(const uint8_t *block, double *out);                                        \
    void ref_##x##_write(const float *in, uint8_t *block)
REF_FORMAT(q2_k);
REF_FORMAT(q3_k);
REF_FORMAT(q4_k);
REF_FORMAT(q5_k);
REF_FORMAT(q6_k);
REF_FORMAT(tq1_0);
REF_FORMAT(tq2_0);
REF_FORMAT(iq4_xs);

/* The formats that are only read (ref_quant_iq.c). */
void ref_iq2_xxs_read(const uint8_t *block, double *out);
void ref_iq2_xs_read(const uint8_t *block, double *out);
void ref_iq2_s_read(const uint8_t *block, double *out);
void ref_iq3_xxs_read(const uint8_t *block, double *out);
void ref_iq3_s_read(const uint8_t *block, double *out);
void ref_iq1_s_read(const uint8_t *block, double *out);
void ref_iq1_m_read(const uint8_t *block, double *out);

#endif
