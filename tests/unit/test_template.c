/* SPDX-License-Identifier: Apache-2.0
 * Chat templates: what jinja2 makes of the templates and conversations of template_cases.py, what
 * must be refused in one sentence, bounds, and damaged templates. */
#include "testing.h"

#include "template.h"

static json_t *load_cases(void)
{
    char path[TEST_PATH_BYTES];
    json_error_t fault;
    test_source("tests/unit/template_cases.json", path);
    json_t *root = json_load_file(path, 0, &fault);
    if (!root) fail_msg("%s: %s", path, fault.text);
    return root;
}

static pumice_status render(const char *source, size_t bytes, const json_t *variables, int64_t now,
                            pum_text *out, pumice_error *err)
{
    pum_template *t = NULL;
    pumice_status status = pum_template_parse(source, bytes, &t, err);
    assert_true((status == PUMICE_OK) == (t != NULL));
    if (status == PUMICE_OK) status = pum_template_render(t, variables, now, out, err);
    pum_template_destroy(&t);
    assert_true(status == PUMICE_OK || err->text[0]);
    return status;
}

static json_t *variables_of(const json_t *root, const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "conversation"));
    json_t *v = json_copy(json_object_get(json_object_get(root, "conversations"), name));
    json_object_set_new(v, "bos_token", json_string("<s>"));
    json_object_set_new(v, "eos_token", json_string("</s>"));
    return v;
}

static void test_stored(void **state)
{
    (void)state;
    json_t *root = load_cases(), *row;
    size_t i, wrong = 0;
    json_array_foreach(json_object_get(root, "cases"), i, row) {
        const char *name = json_string_value(json_object_get(row, "template"));
        const char *source =
            json_string_value(json_object_get(json_object_get(root, "templates"), name));
        const char *want = json_string_value(json_object_get(row, "output"));
        json_t *variables = variables_of(root, row);
        pum_text out = { 0 };
        pumice_error err = { 0 };
        pumice_status status = render(source, strlen(source), variables,
                                      json_integer_value(json_object_get(root, "now")), &out, &err);
        if (want ? status != PUMICE_OK || strcmp(out.data, want) != 0 : status == PUMICE_OK) {
            print_message("%s, %s: got '%s', not '%s'\n", name,
                          json_string_value(json_object_get(row, "conversation")),
                          status == PUMICE_OK ? out.data : err.text, want ? want : "a refusal");
            wrong++;
        }
        json_decref(variables);
        pum_text_free(&out);
    }
    print_message("%zu cases, %zu wrong\n", i, wrong);
    json_decref(root);
    assert_true(i >= 100);
    assert_int_equal(wrong, 0);
}

/* A template and a part of the sentence that refuses it. */
static const struct {
    const char *source, *want;
} refusals[] = {
    { "a\n{{ x", "line 2: an expression {{ has no end" },
    { "{% if x %}", "line 1: a block is not closed" },
    { "\n\n{% foo %}", "line 3: no such statement is supported at 'foo'" },
    { "{{ 1 + }}", "a value was expected" },
    { "{{ 'a }}", "a string has no end" },
    { "{# never", "a comment {# has no end" },
    { "{{ x | nothing }}", "the filter 'nothing' is not supported" },
    { "{{ x is nothing }}", "the test 'nothing' is not supported" },
    { "{{ nope.attr }}", "'nope' is undefined" },
    { "{{ nope() }}", "'nope' is undefined" },
    { "\n{{ raise_exception('say why') }}", "line 2: say why" },
    { "{{ 1 / 0 }}", "a division by zero" },
    { "{{ 'a' + 1 }}", "a string and an int" },
    { "{% for a, b in [[1]] %}{% endfor %}", "2 names are set from 1 values" },
    { "{% set x.y = 1 %}", "only a namespace's members can be set" },
    { "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply" },
    { "{{ range(99999999) }}", "range has more than 100000 numbers" },
    { "{{ 'x' * 999999999 }}", "it does not come to an end" },
    { "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "it needs too much memory" },
    { "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s + n.s "
      "%}{% endfor %}",
      "too" },
    { "{% break %}", "outside of a loop" },
    { "{% include 'x' %}", "no such statement is supported" },
};

static void test_refusals(void **state)
{
    (void)state;
    json_t *none = json_object();
    for (size_t i = 0; i < PUM_COUNT(refusals); i++) {
        pum_text out = { 0 };
        pumice_error err = { 0 };
        const char *source = refusals[i].source;
        if (render(source, strlen(source), none, 0, &out, &err) == PUMICE_OK ||
            !strstr(err.text, refusals[i].want) || !strstr(err.text, "chat template, line")) {
            fail_msg("'%s' gave '%s'", source, err.text);
        }
        pum_text_free(&out);
    }
    json_decref(none);
}

static void test_deep(void **state)
{
    (void)state;
    static const char *const parts[] = { "{{ (", "{% if 1 %}", "{{ [", "{{ not ", "{{ - " };
    json_t *none = json_object();
    for (size_t i = 0; i < PUM_COUNT(parts); i++) {
        pum_text source = { 0 }, out = { 0 };
        pumice_error err = { 0 };
        size_t skip_open = i == 1 ? 0 : 3; /* the braces only once */
        pum_text_add(&source, parts[i], strlen(parts[i]));
        for (int k = 0; k < 20000; k++)
            pum_text_add(&source, parts[i] + skip_open, strlen(parts[i]) - skip_open);
        assert_int_not_equal(render(source.data, source.count, none, 0, &out, &err), PUMICE_OK);
        pum_text_free(&source);
        pum_text_free(&out);
    }
    json_decref(none);
}

/* Bytes changed, cut out and doubled: no crash, and a sentence when it fails. */
static void test_damaged(void **state)
{
    (void)state;
    json_t *root = load_cases(), *row;
    uint64_t random = 12345;
    size_t i;
    static const char swaps[] = "{}%#|()[]'\"-+.,:=~\n 0x";
    json_array_foreach(json_object_get(root, "cases"), i, row) {
        const char *name = json_string_value(json_object_get(row, "template"));
        const char *source =
            json_string_value(json_object_get(json_object_get(root, "templates"), name));
        json_t *variables = variables_of(root, row);
        for (int k = 0; k < 20; k++) {
            pum_text text = { 0 }, out = { 0 };
            pumice_error err = { 0 };
            pum_text_add(&text, source, strlen(source));
            for (int n = 0; n < 1 + k % 4; n++) {
                random = random * 6364136223846793005ull + 1442695040888963407ull;
                size_t at = (size_t)(random >> 33) % text.count;
                if (random & 1) text.data[at] = swaps[(random >> 8) % (sizeof swaps - 1)];
                else text.count = random & 2 ? at + 1 : text.count;
            }
            render(text.data, text.count, variables, 0, &out, &err);
            pum_text_free(&text);
            pum_text_free(&out);
        }
        json_decref(variables);
    }
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_stored),
                                        cmocka_unit_test(test_refusals),
                                        cmocka_unit_test(test_deep),
                                        cmocka_unit_test(test_damaged) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
