/* SPDX-License-Identifier: Apache-2.0
 * The smallest whole program: opens the best device, loads a model, continues a prompt and prints
 * the text. Usage: generate [MODEL.gguf]. Uses nothing but pumice.h and the C library. */
#include <pumice/pumice.h>
#include <stdio.h>

/* Called for every token, in order; `text` is whole UTF-8 sequences and may be empty. */
static int print(void *user, int32_t token, const char *text, size_t bytes)
{
    (void)user, (void)token;
    fwrite(text, 1, bytes, stdout);
    return fflush(stdout) != 0; /* non-zero stops */
}

int main(int argc, char **argv)
{
    pumice_device *device = NULL;
    pumice_model *model = NULL;
    pumice_session *session = NULL;
    pumice_error err = { 0 };
    pumice_model_params mp = { .struct_size = sizeof mp,
                               .path = argc > 1 ? argv[1] : "models/pumice-stories.gguf" };
    /* All other fields are zero, which means "default": greedy, until the text ends. */
    pumice_generate_params gp = { .struct_size = sizeof gp, .max_tokens = 200, .token = print };
    const char prompt[] = "Once upon a time";
    int32_t ids[64];
    size_t n = 0;
    int failed = 1;

    if (pumice_device_create(NULL, &device, &err) || pumice_model_load(device, &mp, &model, &err) ||
        pumice_session_create(model, NULL, &session, &err)) {
        fprintf(stderr, "%s\n", err.text); /* one sentence: what is wrong and what to do */
    } else if (pumice_tokenize(model, prompt, sizeof prompt - 1, PUMICE_TOKENIZE_ADD_SPECIAL, ids,
                               64, &n)) {
        fprintf(stderr, "the prompt cannot be turned into tokens\n");
    } else {
        printf("%s", prompt);
        failed = pumice_session_sync(session, 0, ids, n) ||
                 pumice_session_generate(session, 0, &gp, NULL);
        if (failed) fprintf(stderr, "%s\n", pumice_session_error(session));
        printf("\n");
    }
    pumice_session_destroy(&session); /* children before parents */
    pumice_model_destroy(&model);
    pumice_device_destroy(&device);
    return failed;
}
