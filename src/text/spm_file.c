/* SPDX-License-Identifier: Apache-2.0
 * SentencePiece's model files (tokenizer.model, spiece.model): a protobuf message of pieces, the
 * trainer's settings and the normalizer's. Only the fields that matter to encoding are read; every
 * length is checked against the message that holds it. Field numbers: sentencepiece_model.proto. */
#include "hf.h"

#include <string.h>

/* ---- protobuf ---- */

typedef struct proto {
    const uint8_t *at, *end;
    bool bad;
} proto;

typedef struct proto_field {
    uint32_t number, wire;
    uint64_t value;     /* varint, or the bits of a fixed one */
    const uint8_t *data; /* of a length-delimited field */
    size_t bytes;
} proto_field;

static uint64_t read_varint(proto *p)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64 && p->at < p->end; shift += 7) {
        uint8_t b = *p->at++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) return v;
    }
    p->bad = true;
    return 0;
}

static uint64_t read_fixed(proto *p, size_t bytes)
{
    uint64_t v = 0;
    if ((size_t)(p->end - p->at) < bytes) {
        p->bad = true;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++) v |= (uint64_t)p->at[i] << 8 * i;
    p->at += bytes;
    return v;
}

static bool next_field(proto *p, proto_field *f)
{
    *f = (proto_field){ 0 };
    if (p->bad || p->at == p->end) return false;
    uint64_t key = read_varint(p);
    f->number = (uint32_t)(key >> 3);
    f->wire = key & 7;
    switch (f->wire) {
    case 0:
        f->value = read_varint(p);
        break;
    case 1:
        f->value = read_fixed(p, 8);
        break;
    case 5:
        f->value = read_fixed(p, 4);
        break;
    case 2:
        f->value = read_varint(p);
        if (f->value > (uint64_t)(p->end - p->at)) p->bad = true;
        if (p->bad) return false;
        f->data = p->at;
        f->bytes = (size_t)f->value;
        p->at += f->bytes;
        break;
    default:
        p->bad = true;
    }
    return !p->bad;
}

static float field_float(const proto_field *f)
{
    uint32_t bits = (uint32_t)f->value;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

bool pum_spm_file_is(const void *data, size_t bytes)
{
    proto p = { data, (const uint8_t *)data + bytes, false };
    proto_field f;
    return next_field(&p, &f) && f.number >= 1 && f.number <= 5 && f.wire == 2 && bytes >= 4;
}

/* ---- the message ---- */

enum { MODEL_UNIGRAM = 1, MODEL_BPE, MODEL_WORD, MODEL_CHAR };

typedef struct settings {
    uint64_t model_type;
    bool suffix, byte_fallback, dummy_prefix, remove_extra, escape;
    pum_str bos, eos, unk, pad, unk_surface, charsmap;
} settings;

static pum_str str_of(const proto_field *f)
{
    return (pum_str){ (const char *)f->data, f->bytes };
}

static pumice_status damaged(pumice_error *err, const char *what)
{
    return pum_fail(err, PUMICE_ERROR_FORMAT, "the SentencePiece model is damaged (%s); copy the file anew", what);
}

typedef struct piece_lists {
    pum_type_list types;
    PUM_ARRAY(double) scores;
} piece_lists;

static pumice_status read_piece(pum_tokenizer *t, piece_lists *lists, const proto_field *message,
                                pumice_error *err)
{
    proto p = { message->data, message->data + message->bytes, false };
    proto_field f;
    pum_str piece = { "", 0 };
    double score = 0;
    uint64_t type = PUM_TOKEN_NORMAL;
    while (next_field(&p, &f)) {
        if (f.number == 1 && f.wire == 2) piece = str_of(&f);
        else if (f.number == 2 && f.wire == 5) score = field_float(&f);
        else if (f.number == 3 && f.wire == 0) type = f.value;
    }
    if (p.bad) return damaged(err, "a piece ends too early");
    if (type < PUM_TOKEN_NORMAL || type > PUM_TOKEN_BYTE)
        return damaged(err, "a piece has a type that does not exist");
    if (t->count >= PUM_MAX_TOKENS) return damaged(err, "it has more than 16 million pieces");
    if (!pum_strings_add(&t->pieces, piece.data, piece.count) ||
        !pum_array_push(&lists->types, (uint8_t)type) || !pum_array_push(&lists->scores, score)) {
        return pum_no_memory(err);
    }
    t->count++;
    return PUMICE_OK;
}

static bool read_trainer(const proto_field *message, settings *s)
{
    proto p = { message->data, message->data + message->bytes, false };
    proto_field f;
    while (next_field(&p, &f)) {
        if (f.wire == 0 && f.number == 3) s->model_type = f.value;
        else if (f.wire == 0 && f.number == 24) s->suffix = f.value != 0;
        else if (f.wire == 0 && f.number == 35) s->byte_fallback = f.value != 0;
        else if (f.wire == 2 && f.number == 44) s->unk_surface = str_of(&f);
        else if (f.wire == 2 && f.number == 45) s->unk = str_of(&f);
        else if (f.wire == 2 && f.number == 46) s->bos = str_of(&f);
        else if (f.wire == 2 && f.number == 47) s->eos = str_of(&f);
        else if (f.wire == 2 && f.number == 48) s->pad = str_of(&f);
    }
    return !p.bad;
}

static bool read_normalizer(const proto_field *message, settings *s)
{
    proto p = { message->data, message->data + message->bytes, false };
    proto_field f;
    while (next_field(&p, &f)) {
        if (f.wire == 2 && f.number == 2) s->charsmap = str_of(&f);
        else if (f.wire == 0 && f.number == 3) s->dummy_prefix = f.value != 0;
        else if (f.wire == 0 && f.number == 4) s->remove_extra = f.value != 0;
        else if (f.wire == 0 && f.number == 5) s->escape = f.value != 0;
    }
    return !p.bad;
}

static pumice_status read_message(const void *data, size_t bytes, pum_tokenizer *t,
                                  piece_lists *lists, settings *s, pumice_error *err)
{
    proto p = { data, (const uint8_t *)data + bytes, false };
    proto_field f;
    while (next_field(&p, &f)) {
        bool good = true;
        if (f.wire != 2) continue;
        if (f.number == 1) PUM_TRY(read_piece(t, lists, &f, err));
        else if (f.number == 2) good = read_trainer(&f, s);
        else if (f.number == 3) good = read_normalizer(&f, s);
        if (!good) return damaged(err, "its settings end too early");
    }
    if (p.bad) return damaged(err, "it ends too early");
    if (t->count == 0) return damaged(err, "it has no pieces");
    if (s->model_type < MODEL_UNIGRAM || s->model_type > MODEL_CHAR)
        return damaged(err, "its kind of model does not exist");
    if (s->model_type == MODEL_WORD) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "the SentencePiece model is of kind 'word', which is not supported");
    }
    return PUMICE_OK;
}

/* The control token of that text. */
static int32_t find_control(const pum_tokenizer *t, pum_str want)
{
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        if (t->types[i] == PUM_TOKEN_CONTROL && n == want.count &&
            memcmp(piece, want.data, n) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

static pumice_status set_up(pum_tokenizer *t, const settings *s, pumice_error *err)
{
    t->kind = s->model_type == MODEL_UNIGRAM ? PUM_TOKENIZER_UNIGRAM : PUM_TOKENIZER_SPM;
    t->no_merges = s->model_type == MODEL_CHAR;
    t->byte_fallback = s->byte_fallback;
    t->fuse_unknown = t->inline_user = true;
    t->add_space_prefix = s->dummy_prefix;
    t->drop_first = s->dummy_prefix || s->remove_extra;
    t->drop_until_text = s->remove_extra;
    size_t n = PUM_MIN(s->unk_surface.count, sizeof t->unknown_text - 1);
    memcpy(t->unknown_text, s->unk_surface.data, n);
    t->bos = find_control(t, s->bos);
    t->eos = find_control(t, s->eos);
    t->pad = find_control(t, s->pad);
    for (uint32_t i = 0; i < t->count && t->unk < 0; i++) {
        if (t->types[i] == PUM_TOKEN_UNKNOWN) t->unk = (int32_t)i;
    }
    t->normalizer = pum_alloc(sizeof *t->normalizer);
    if (!t->normalizer) return pum_no_memory(err);
    t->normalizer->escape = s->escape;
    t->normalizer->suffix = s->suffix;
    t->normalizer->remove_extra = s->remove_extra;
    t->normalizer->prefix = s->dummy_prefix ? PUM_PREPEND_ALWAYS : PUM_PREPEND_NEVER;
    PUM_TRY(
        pum_charsmap_create(s->charsmap.data, s->charsmap.count, &t->normalizer->map, err));
    return pum_normalizer_add(t->normalizer, (pum_norm_step){ .op = PUM_NORM_SENTENCEPIECE }, err);
}

#define STR(text) { text, sizeof text - 1 }

pumice_status pum_spm_file_read(const void *data, size_t bytes, pum_tokenizer *t, pumice_error *err)
{
    settings s = { .model_type = MODEL_UNIGRAM,
                   .dummy_prefix = true,
                   .remove_extra = true,
                   .escape = true,
                   .bos = STR("<s>"),
                   .eos = STR("</s>"),
                   .unk = STR("<unk>"),
                   .pad = STR("<pad>"),
                   .unk_surface = STR(" \xe2\x81\x87 ") };
    piece_lists lists = { 0 };
    pumice_status status = read_message(data, bytes, t, &lists, &s, err);
    if (status == PUMICE_OK) status = pum_tokenizer_allocate(t, err);
    if (status == PUMICE_OK) {
        memcpy(t->types, lists.types.data, t->count);
        t->scores = lists.scores.data;
        lists.scores.data = NULL;
        status = set_up(t, &s, err);
    }
    pum_array_free(&lists.types);
    pum_free(lists.scores.data);
    return status;
}
