/* SPDX-License-Identifier: Apache-2.0
 * Task files: one JSON object a line, a multiple-choice question or an input with its target.
 * Decides what a line may hold (docs/cli.md, score) and says line and field of what is wrong. */
#include "score.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const char *path;
    size_t line;
    const json_t *object;
} reader;

static int bad_field(const reader *r, const char *field, const char *what)
{
    return cli_fail("'%s', line %zu: field '%s' %s", r->path, r->line, field, what);
}

static int read_ids(const reader *r, const char *field, const json_t *list, cli_list *out)
{
    size_t i;
    json_t *id;
    if (!json_is_array(list) || json_array_size(list) == 0) {
        return bad_field(r, field, "is not a list of token ids");
    }
    json_array_foreach(list, i, id) {
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > INT32_MAX) {
            return bad_field(r, field, "is not a list of token ids");
        }
        if (!cli_list_add(out, (int32_t)value)) return cli_no_memory();
    }
    return CLI_OK;
}

static int read_words(const reader *r, const char *field, const json_t *value, bool ids,
                      cli_words *out)
{
    out->field = field;
    if (ids) return read_ids(r, field, value, &out->tokens);
    if (!json_is_string(value)) return bad_field(r, field, "is not a text");
    out->text = json_string_value(value);
    out->bytes = json_string_length(value);
    return CLI_OK;
}

enum { NAMES = 4 };

/* The one of the fields that is there, NULL if none is; two contradict each other. */
static int find(const reader *r, const char *const names[NAMES], const char **out_field,
                const json_t **out_value)
{
    *out_field = NULL;
    *out_value = NULL;
    for (int i = 0; i < NAMES; i++) {
        const json_t *value = json_object_get(r->object, names[i]);
        if (!value) continue;
        if (*out_value) {
            return cli_fail("'%s', line %zu: there are both a field '%s' and a field '%s'", r->path,
                            r->line, *out_field, names[i]);
        }
        *out_field = names[i];
        *out_value = value;
    }
    return CLI_OK;
}

static int read_context(const reader *r, cli_task *task)
{
    static const char *const names[NAMES] = { "context", "context_tokens", "input", "input_tokens" };
    const char *field;
    const json_t *value;
    int code = find(r, names, &field, &value);
    if (code != CLI_OK) return code;
    if (!value) return bad_field(r, task->is_choice ? "context" : "input", "is missing");
    return read_words(r, field, value, strstr(field, "_tokens") != NULL, &task->context);
}

static int read_answer(const reader *r, cli_task *task)
{
    const json_t *answer = json_object_get(r->object, "answer");
    if (json_is_integer(answer)) {
        json_int_t i = json_integer_value(answer);
        if (i >= 0 && (size_t)i < task->n_endings) {
            task->answer = (size_t)i;
            return CLI_OK;
        }
        return cli_fail("'%s', line %zu: field 'answer' is %lld, but there are %zu choices, from 0 on",
                        r->path, r->line, (long long)i, task->n_endings);
    }
    for (size_t i = 0; json_is_string(answer) && i < task->n_endings; i++) {
        const cli_words *w = &task->endings[i];
        if (!w->text || w->bytes != json_string_length(answer) ||
            memcmp(w->text, json_string_value(answer), w->bytes) != 0) continue;
        task->answer = i;
        return CLI_OK;
    }
    if (!answer) return bad_field(r, "answer", "is missing");
    return bad_field(r, "answer", "is neither the number of a choice nor one of them");
}

static int allocate_endings(cli_task *task, size_t count)
{
    task->endings = calloc(count, sizeof *task->endings);
    if (!task->endings) return cli_no_memory();
    task->n_endings = count;
    return CLI_OK;
}

static int read_choices(const reader *r, const char *field, const json_t *choices, cli_task *task)
{
    bool ids = strcmp(field, "choices_tokens") == 0;
    size_t i;
    json_t *choice;
    task->is_choice = true;
    if (!json_is_array(choices) || json_array_size(choices) < 2) {
        return bad_field(r, field, "is not a list of two choices or more");
    }
    int code = allocate_endings(task, json_array_size(choices));
    json_array_foreach(choices, i, choice) {
        if (code == CLI_OK) code = read_words(r, field, choice, ids, &task->endings[i]);
    }
    return code == CLI_OK ? read_answer(r, task) : code;
}

static int read_endings(const reader *r, cli_task *task)
{
    static const char *const names[NAMES] = { "choices", "choices_tokens", "target", "target_tokens" };
    const char *field;
    const json_t *value;
    int code = find(r, names, &field, &value);
    if (code != CLI_OK) return code;
    if (value && strncmp(field, "choices", 7) == 0) return read_choices(r, field, value, task);
    if (!value) {
        return cli_fail("'%s', line %zu: there is neither a field 'choices' nor a field 'target'",
                        r->path, r->line);
    }
    code = allocate_endings(task, 1);
    if (code != CLI_OK) return code;
    return read_words(r, field, value, strcmp(field, "target_tokens") == 0, &task->endings[0]);
}

static int read_line(reader *r, const char *text, size_t bytes, cli_task *task)
{
    json_error_t error;
    task->line = r->line;
    task->json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!task->json) {
        return cli_fail("'%s', line %zu is not JSON: %s (column %d)", r->path, r->line, error.text,
                        error.column);
    }
    if (!json_is_object(task->json)) {
        return cli_fail("'%s', line %zu is not a JSON object", r->path, r->line);
    }
    r->object = task->json;
    task->id = json_object_get(task->json, "id");
    int code = read_endings(r, task);
    return code == CLI_OK ? read_context(r, task) : code;
}

static void free_task(cli_task *task)
{
    for (size_t i = 0; i < task->n_endings; i++) free(task->endings[i].tokens.data);
    free(task->endings);
    free(task->context.tokens.data);
    json_decref(task->json);
    *task = (cli_task){ 0 };
}

void cli_tasks_free(cli_tasks *tasks)
{
    for (size_t i = 0; i < tasks->count; i++) free_task(&tasks->data[i]);
    free(tasks->data);
    *tasks = (cli_tasks){ 0 };
}

static cli_task *new_task(cli_tasks *tasks)
{
    if (tasks->count == tasks->capacity) {
        size_t capacity = 2 * tasks->capacity + 64;
        cli_task *data = realloc(tasks->data, capacity * sizeof *data);
        if (!data) return NULL;
        tasks->data = data;
        tasks->capacity = capacity;
    }
    tasks->data[tasks->count] = (cli_task){ 0 };
    return &tasks->data[tasks->count++];
}

static bool is_blank(const char *text, size_t bytes)
{
    while (bytes && strchr(" \t\r", text[bytes - 1])) bytes--;
    return bytes == 0;
}

int cli_tasks_read(const char *path, cli_tasks *out_tasks)
{
    reader r = { .path = path };
    char *data;
    size_t bytes;
    *out_tasks = (cli_tasks){ .path = path };
    int code = cli_read(path, &data, &bytes);
    for (size_t at = 0; code == CLI_OK && at < bytes;) {
        const char *end = memchr(data + at, '\n', bytes - at);
        size_t length = end ? (size_t)(end - data) - at : bytes - at;
        r.line++;
        if (!is_blank(data + at, length)) {
            cli_task *task = new_task(out_tasks);
            code = task ? read_line(&r, data + at, length, task) : cli_no_memory();
        }
        at += length + 1;
    }
    free(data);
    if (code == CLI_OK && !out_tasks->count) code = cli_fail("'%s' holds no task", path);
    return code;
}
