/* SPDX-License-Identifier: Apache-2.0
 * pumice_chat_format: messages to the text that the model was trained to see, by its own chat
 * template. Decides which form holds where a model has none, by the tokens of its vocabulary. */
#include "api.h"

#include "template.h"

#include <string.h>
#include <time.h>

/* Known forms, for models that bring no template. The first whose token is in the vocabulary. */
static const struct {
    const char *token, *name, *source;
} forms[] = {
    { "<|im_start|>", "ChatML", NULL },
    { "<|start_header_id|>", "Llama 3's",
      "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' ~ m.role ~ "
      "'<|end_header_id|>\n\n' ~ m.content | trim ~ '<|eot_id|>' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
      "{% endif %}" },
    { "<start_of_turn>", "Gemma's",
      "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' ~ ('model' if m.role == "
      "'assistant' else 'user') ~ '\n' ~ m.content | trim ~ '<end_of_turn>\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}" },
    { "<|assistant|>", "Phi-3's",
      "{% for m in messages %}{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ '<|end|>\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}" },
    /* ChatGLM-6B counts its rounds, and the tokenizer adds [gMASK] and <sop>. */
    { "[gMASK]", "ChatGLM's",
      "{% set ns = namespace(round=0) %}{% for m in messages %}"
      "{% if m.role == 'assistant' %}{{ m.content ~ '\n' }}{% set ns.round = ns.round + 1 %}"
      "{% elif messages | length == 1 %}{{ m.content }}{% elif m.role == 'user' %}"
      "{{ '[Round ' ~ ns.round ~ ']\n\xe9\x97\xae\xef\xbc\x9a' ~ m.content ~ "
      "'\n\xe7\xad\x94\xef\xbc\x9a' }}{% else %}{{ m.content ~ '\n' }}{% endif %}{% endfor %}" },
};
static const char chatml[] =
    "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

static bool has_token(const pum_tokenizer *t, const char *text)
{
    size_t want = strlen(text), n;
    for (uint32_t i = 0; i < pum_tokenizer_count(t); i++) {
        const char *piece = pum_tokenizer_piece(t, (int32_t)i, &n);
        if (n == want && memcmp(piece, text, n) == 0) return true;
    }
    return false;
}

/* The template to use, and the name of the form if it is not the model's own. */
static const char *choose(const pumice_model *model, const char **out_name)
{
    const char *own = pum_tokenizer_chat_template(model->tokenizer);
    *out_name = NULL;
    if (own && own[0]) return own;
    *out_name = "ChatML";
    for (size_t i = 0; i < PUM_COUNT(forms); i++) {
        if (!has_token(model->tokenizer, forms[i].token)) continue;
        *out_name = forms[i].name;
        return forms[i].source ? forms[i].source : chatml;
    }
    return chatml;
}

/* ---- variables ---- */

static bool set_token(json_t *variables, const char *name, const pum_tokenizer *t, int32_t id)
{
    size_t n = 0;
    const char *piece = id >= 0 ? pum_tokenizer_piece(t, id, &n) : NULL;
    json_t *text = piece ? json_stringn(piece, n) : NULL;
    if (!piece) return true;
    if (!text) text = json_string(""); /* no UTF-8 */
    return json_object_set_new(variables, name, text) == 0;
}

static pumice_status add_messages(const pumice_chat_params *p, json_t *variables, pumice_error *err)
{
    json_t *list = json_array();
    if (json_object_set_new(variables, "messages", list) != 0)
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the messages");
    for (size_t i = 0; i < p->n_messages; i++) {
        const pumice_chat_message *m = &p->messages[i];
        if (!m->role || !m->content)
            return pum_fail(err, PUMICE_ERROR_INVALID, "message %zu lacks its role or content", i);
        json_t *role = json_string(m->role), *content = json_string(m->content);
        json_t *row = role && content ? json_pack("{s:O, s:O}", "role", role, "content", content)
                                      : NULL;
        bool text = role && content;
        json_decref(role);
        json_decref(content);
        if (!text)
            return pum_fail(err, PUMICE_ERROR_INVALID, "message %zu is not valid UTF-8", i);
        if (!row || json_array_append_new(list, row) != 0)
            return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the messages");
    }
    return PUMICE_OK;
}

static pumice_status add_extra(const char *text, json_t *variables, pumice_error *err)
{
    json_error_t fault;
    if (!text || !text[0]) return PUMICE_OK;
    json_t *extra = json_loads(text, 0, &fault);
    if (!json_is_object(extra)) {
        json_decref(extra);
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "params.variables_json must be a JSON object (line %d: %.100s)", fault.line,
                        fault.text);
    }
    int failed = json_object_update(variables, extra);
    json_decref(extra);
    return failed ? pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the variables")
                  : PUMICE_OK;
}

static pumice_status make_variables(const pumice_model *model, const pumice_chat_params *p,
                                    json_t **out, pumice_error *err)
{
    const pum_tokenizer *t = model->tokenizer;
    json_t *v = *out = json_object();
    /* As transformers has it: tools and documents are there, as none. */
    bool good = v && json_object_set_new(v, "tools", json_null()) == 0 &&
                json_object_set_new(v, "documents", json_null()) == 0 &&
                json_object_set_new(v, "add_generation_prompt",
                                    json_boolean(!p->no_generation_prompt)) == 0 &&
                json_object_set_new(v, "bos_token", json_string("")) == 0 &&
                json_object_set_new(v, "eos_token", json_string("")) == 0 &&
                set_token(v, "bos_token", t, pum_tokenizer_bos(t)) &&
                set_token(v, "eos_token", t, pum_tokenizer_eos(t)) &&
                set_token(v, "unk_token", t, pum_tokenizer_unk(t));
    if (!good) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the chat template");
    PUM_TRY(add_messages(p, v, err));
    return add_extra(p->variables_json, v, err);
}

pumice_status pumice_chat_format(const pumice_model *model, const pumice_chat_params *params,
                                 char *text, size_t capacity, size_t *out_bytes,
                                 pumice_chat_result *out_result, pumice_error *err)
{
    pum_error_clear(err);
    if (out_bytes) *out_bytes = 0;
    if (!model || !params || !out_bytes || (capacity && !text))
        return pum_fail(err, PUMICE_ERROR_INVALID, "model, params and out_bytes must be given");
    PUM_TRY(pum_params_check(params->struct_size, sizeof(uint32_t), "pumice_chat_params", err));
    pumice_chat_params p;
    pum_params_copy(&p, sizeof p, params);
    if (p.n_messages && !p.messages)
        return pum_fail(err, PUMICE_ERROR_INVALID, "params.messages must be given");
    if (!model->tokenizer) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "'%.300s' comes without a tokenizer, which a conversation needs: put its "
                        "files (tokenizer.json or the like) beside the model",
                        pum_gguf_path(model->gguf));
    }
    pumice_status status = PUMICE_OK;
    const char *form = NULL, *source = p.template_text;
    pum_template *t = NULL;
    json_t *variables = NULL;
    pum_text out = { 0 };
    if (!source) source = choose(model, &form);
    PUM_GOTO(make_variables(model, &p, &variables, err));
    PUM_GOTO(pum_template_parse(source, strlen(source), &t, err));
    PUM_GOTO(pum_template_render(t, variables, p.now ? p.now : (int64_t)time(NULL), &out, err));
    if (capacity && out.count) memcpy(text, out.data, PUM_MIN(out.count, capacity));
    *out_bytes = out.count;
    if (out_result) {
        pumice_chat_result full = { .struct_size = out_result->struct_size,
                                    .form = form,
                                    .tokenize_flags = PUMICE_TOKENIZE_PARSE_SPECIAL };
        /* Forms of ours that name no BOS leave it to the tokenizer. */
        if (form && !strstr(source, "bos_token")) full.tokenize_flags |= PUMICE_TOKENIZE_ADD_SPECIAL;
        memcpy(out_result, &full, PUM_MIN((size_t)out_result->struct_size, sizeof full));
    }
fail:
    json_decref(variables);
    pum_template_destroy(&t);
    pum_text_free(&out);
    return status;
}
