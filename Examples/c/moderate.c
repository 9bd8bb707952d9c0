/* moderate.c - reads lines, prints what ShieldGemma thinks of each.
 *
 *     cc moderate.c $(pkg-config --cflags --libs cabochon) -o moderate
 *     ./moderate shieldgemma-2b.gguf < lines.txt
 *
 * One line of tab-separated scores for each line read: the probability that it violates each of the
 * four official policies. What score is too high is for you to say; there is no official threshold.
 */
/* For getline, which a compiler that is asked for C11 alone does not declare. */
#define _POSIX_C_SOURCE 200809L
#include <cabochon/cabochon.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(cabochon_error *error) {
    fprintf(stderr, "moderate: %s\n", cabochon_error_message(error, NULL));
    cabochon_error_free(error);
    return 1;
}

static int moderate_lines(const cabochon_guard *guard) {
    cabochon_verdict verdicts[8];
    size_t count = cabochon_guard_policy_count(guard);
    for (size_t i = 0; i < count; i++) printf("%s\t", cabochon_guard_policy_name(guard, i));
    printf("line\n");

    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int failed = 0;
    while ((length = getline(&line, &capacity, stdin)) >= 0) {
        cabochon_error *error = NULL;
        if (length > 0 && line[length - 1] == '\n') length--;
        count = sizeof verdicts / sizeof verdicts[0];
        /* A response would go where the NULL is: then it is judged, and not the prompt. */
        if (cabochon_guard_classify(guard, line, (size_t)length, NULL, 0, NULL, 0, verdicts, &count, &error) !=
            CABOCHON_OK) {
            failed = fail(error); /* not UTF-8, or too long: the next line may be better */
            continue;
        }
        for (size_t i = 0; i < count; i++) printf("%.4f\t", verdicts[i].score);
        printf("%.*s\n", (int)length, line);
        fflush(stdout);
    }
    free(line);
    return failed;
}

int main(int argc, char **argv) {
    cabochon_engine *engine = NULL;
    cabochon_model *model = NULL;
    cabochon_guard *guard = NULL;
    cabochon_error *error = NULL;
    int failed;

    if (argc != 2) {
        fprintf(stderr, "usage: moderate MODEL < LINES\n");
        return 2;
    }
    if (cabochon_engine_create(NULL, &engine, &error) != CABOCHON_OK ||
        cabochon_model_load(engine, argv[1], NULL, &model, &error) != CABOCHON_OK ||
        cabochon_guard_create(model, NULL, &guard, &error) != CABOCHON_OK)
        failed = fail(error);
    else failed = moderate_lines(guard);

    cabochon_guard_free(guard);
    cabochon_model_free(model);
    cabochon_engine_free(engine);
    return failed;
}
