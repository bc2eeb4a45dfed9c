/* SPDX-License-Identifier: Apache-2.0
 * The arithmetic of pumice score: means and standard errors, choices, windows that score every token
 * once, spans that put together are the text again, task files with faults. */
#include <math.h>

#include "score.h"
#include "testing.h"

static bool near(double a, double b) { return fabs(a - b) <= 1e-12 * (1 + fabs(b)); }

static void test_means(void **state)
{
    static const double values[] = { 3, 5, 4, 8 }; /* mean 5, sample variance 14/3 */
    cli_mean m = { 0 };
    (void)state;
    assert_true(cli_mean_error(&m) == 0);
    cli_mean_add(&m, values[0]);
    assert_true(m.mean == 3 && cli_mean_error(&m) == 0);
    for (int i = 1; i < 4; i++) cli_mean_add(&m, values[i]);
    assert_int_equal(m.count, 4);
    assert_true(near(m.mean, 5) && near(m.sum, 20));
    assert_true(near(cli_mean_error(&m), sqrt(14.0 / 3 / 4)));
    m = (cli_mean){ 0 };
    for (int i = 0; i < 1000; i++) cli_mean_add(&m, 1e9 + i % 2); /* squares would cancel */
    assert_true(fabs(cli_mean_error(&m) - sqrt(0.25 * 1000 / 999 / 1000)) < 1e-9);
}

static void test_choices(void **state)
{
    static const double logprobs[] = { -6, -4, -5 };
    static const size_t lengths[] = { 12, 4, 0 };
    (void)state;
    cli_choice_figures f = cli_choose(logprobs, lengths, 3, 2);
    assert_int_equal(f.best, 1);
    assert_int_equal(f.best_per_length, 0); /* -0.5, -1, -5 */
    assert_true(near(f.answer_probability, exp(-5) / (exp(-6) + exp(-4) + exp(-5))));
    static const double equal[] = { -900, -900 }; /* no underflow; the first of equals */
    static const size_t ones[] = { 1, 1 };
    f = cli_choose(equal, ones, 2, 1);
    assert_true(f.best == 0 && f.best_per_length == 0 && near(f.answer_probability, 0.5));
}

/* Every token from least_context on is scored once and sees what it must. */
static void check_cut(cli_cut cut)
{
    cli_window w = { 0 };
    size_t end = cut.least_context, n = 0;
    while (cli_window_next(&cut, &w)) {
        assert_int_equal(w.begin, n * cut.stride);
        assert_int_equal(w.begin + w.context, end);
        assert_true(w.count > 0 && w.context + w.count <= cut.room);
        assert_true(w.context >= (n ? cut.room - cut.stride : cut.least_context));
        end += w.count;
        n++;
    }
    assert_int_equal(n, cli_window_number(&cut));
    assert_int_equal(end, cut.total > cut.least_context ? cut.total : cut.least_context);
}

static void test_windows(void **state)
{
    (void)state;
    for (size_t total = 0; total < 40; total++) {
        for (size_t room = 1; room < 14; room++) {
            for (size_t least = 0; least < room; least++) {
                for (size_t stride = 1; stride <= room - least; stride++) {
                    check_cut((cli_cut){ total, room, stride, least });
                }
            }
        }
    }
    cli_cut cut = { 10, 4, 3, 1 };
    assert_int_equal(cli_window_number(&cut), 3); /* 1-3, 4-6, 7-9 */
}

static void check_spans(size_t count, uint64_t seed)
{
    static const int32_t sentinels[] = { 999, 998, 997, 996, 995, 994, 993, 992, 991, 990, 989,
                                         988, 987, 986, 985, 984, 983, 982, 981, 980, 979, 978 };
    int32_t tokens[400];
    cli_list input = { 0 }, labels = { 0 };
    for (size_t i = 0; i < count; i++) tokens[i] = (int32_t)i;
    assert_int_equal(cli_spans(tokens, count, sentinels, CLI_COUNT(sentinels), &seed, &input, &labels),
                     CLI_OK);
    size_t spans = cli_spans_number(count), at = 0, label = 0, sentinel = 0;
    for (size_t i = 0; i < input.count; i++) { /* put together it is the text again */
        if (input.data[i] < 900) {
            assert_int_equal(input.data[i], at++);
            continue;
        }
        assert_int_equal(input.data[i], sentinels[sentinel]);
        assert_int_equal(labels.data[label++], sentinels[sentinel++]);
        assert_true(label < labels.count && labels.data[label] < 900); /* no empty span */
        while (labels.data[label] < 900) assert_int_equal(labels.data[label++], at++);
    }
    assert_int_equal(at, count);
    assert_int_equal(sentinel, spans);
    assert_int_equal(label + 1, labels.count);
    assert_int_equal(labels.data[label], sentinels[spans]);
    assert_true(input.data[0] < 900); /* a text begins with what is kept */
    double share = (double)(labels.count - spans - 1) / (double)count;
    assert_true(count < 20 || (share > 0.1 && share < 0.2));
    free(input.data);
    free(labels.data);
}

static void test_spans(void **state)
{
    (void)state;
    for (size_t count = 2; count < 400; count += count < 40 ? 1 : 37) {
        for (uint64_t seed = 0; seed < 20; seed++) check_spans(count, seed);
    }
    assert_int_equal(cli_spans_number(512), 26); /* 77 tokens in spans of 3 */
}

/* ---- task files ---- */

static const char *write_file(const char *text)
{
    static char path[] = "/tmp/pumice-tasks-XXXXXX";
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

static int read_tasks(const char *text, cli_tasks *out)
{
    const char *path = write_file(text);
    int code = cli_tasks_read(path, out);
    unlink(path);
    return code;
}

static void test_task_file(void **state)
{
    cli_tasks t;
    (void)state;
    assert_int_equal(read_tasks("{\"context\":\"A\",\"choices\":[\"x\",\"yz\"],\"answer\":1,\"more\":0}\n"
                                "\n  \r\n"
                                "{\"input_tokens\":[4,5],\"target_tokens\":[6],\"id\":\"q\"}\n"
                                "{\"input\":\"\",\"choices\":[\"x\",\"y\"],\"answer\":\"y\"}",
                                &t),
                     CLI_OK);
    assert_int_equal(t.count, 3);
    assert_true(t.data[0].is_choice && t.data[0].answer == 1 && t.data[0].n_endings == 2);
    assert_int_equal(t.data[0].endings[1].bytes, 2);
    assert_int_equal(t.data[1].line, 4);
    assert_true(!t.data[1].is_choice && !t.data[1].context.text && t.data[1].id);
    assert_int_equal(t.data[1].context.tokens.count, 2);
    assert_int_equal(t.data[2].answer, 1);
    assert_int_equal(t.data[2].context.bytes, 0);
    cli_tasks_free(&t);
    static const char *const bad[] = {
        "", "\n\n", "[1]", "{", "{\"a\":1}", "{\"context\":\"A\"}",
        "{\"choices\":[\"x\",\"y\"],\"answer\":0}",
        "{\"context\":\"A\",\"choices\":[\"x\"],\"answer\":0}",
        "{\"context\":\"A\",\"choices\":\"xy\",\"answer\":0}",
        "{\"context\":\"A\",\"choices\":[\"x\",3],\"answer\":0}",
        "{\"context\":\"A\",\"choices\":[\"x\",\"y\"]}",
        "{\"context\":\"A\",\"choices\":[\"x\",\"y\"],\"answer\":2}",
        "{\"context\":\"A\",\"choices\":[\"x\",\"y\"],\"answer\":-1}",
        "{\"context\":\"A\",\"choices\":[\"x\",\"y\"],\"answer\":\"z\"}",
        "{\"context\":\"A\",\"choices\":[\"x\",\"y\"],\"answer\":0.5}",
        "{\"context\":7,\"target\":\"x\"}", "{\"input\":\"A\",\"target\":[1]}",
        "{\"input_tokens\":[1,-1],\"target\":\"x\"}", "{\"input_tokens\":[],\"target\":\"x\"}",
        "{\"input_tokens\":[1],\"target_tokens\":[\"x\"]}",
        "{\"input_tokens\":[99999999999],\"target_tokens\":[1]}",
        "{\"input\":\"A\",\"input\":\"B\",\"target\":\"x\"}",
    };
    for (size_t i = 0; i < CLI_COUNT(bad); i++) {
        assert_int_equal(read_tasks(bad[i], &t), CLI_FAILURE);
        cli_tasks_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_means),   cmocka_unit_test(test_choices),
        cmocka_unit_test(test_windows), cmocka_unit_test(test_spans),
        cmocka_unit_test(test_task_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
