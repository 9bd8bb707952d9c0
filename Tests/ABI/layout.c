/* layout.c - the structs of 1.0, byte for byte, on 64-bit machines. A failure to compile means that
 * a field has moved, and with it the ABI. New fields get new lines, old lines never change. */
#include <cabochon/cabochon.h>
#include <stdio.h>

static int checks;
#define AT(type, field, offset)                                                                                        \
    _Static_assert(offsetof(type, field) == offset, #type "." #field " has moved");                                    \
    checks++
#define SIZE(type, size)                                                                                               \
    _Static_assert(sizeof(type) == size, #type " has another size");                                                   \
    checks++

int main(void) {
    AT(cabochon_engine_options, struct_size, 0);
    AT(cabochon_engine_options, threads, 8);
    AT(cabochon_engine_options, plugins, 12);
    AT(cabochon_engine_options, backend_paths, 16);
    AT(cabochon_engine_options, backend_path_count, 24);
    AT(cabochon_engine_options, log, 32);
    AT(cabochon_engine_options, log_user_data, 40);
    SIZE(cabochon_engine_options, 48);

    AT(cabochon_model_options, struct_size, 0);
    AT(cabochon_model_options, backend, 8);
    AT(cabochon_model_options, kv_type, 16);
    AT(cabochon_model_options, embedding_scale, 20);
    AT(cabochon_model_options, flags, 24);
    AT(cabochon_model_options, context_length, 28);
    SIZE(cabochon_model_options, 32);

    AT(cabochon_message, role, 0);
    AT(cabochon_message, role_len, 8);
    AT(cabochon_message, content, 16);
    AT(cabochon_message, content_len, 24);
    SIZE(cabochon_message, 32);

    AT(cabochon_session_options, struct_size, 0);
    AT(cabochon_session_options, context_length, 8);
    AT(cabochon_session_options, reserved_, 12);
    SIZE(cabochon_session_options, 16);

    AT(cabochon_text, utf8, 0);
    AT(cabochon_text, len, 8);
    SIZE(cabochon_text, 16);
    AT(cabochon_logit_bias, token, 0);
    AT(cabochon_logit_bias, bias, 4);
    SIZE(cabochon_logit_bias, 8);

    AT(cabochon_generation_options, struct_size, 0);
    AT(cabochon_generation_options, sampling, 8);
    AT(cabochon_generation_options, flags, 12);
    AT(cabochon_generation_options, max_tokens, 16);
    AT(cabochon_generation_options, temperature, 20);
    AT(cabochon_generation_options, top_k, 24);
    AT(cabochon_generation_options, top_p, 28);
    AT(cabochon_generation_options, min_p, 32);
    AT(cabochon_generation_options, repetition_penalty, 36);
    AT(cabochon_generation_options, presence_penalty, 40);
    AT(cabochon_generation_options, frequency_penalty, 44);
    AT(cabochon_generation_options, penalty_window, 48);
    AT(cabochon_generation_options, logprobs, 52);
    AT(cabochon_generation_options, seed, 56);
    AT(cabochon_generation_options, stop, 64);
    AT(cabochon_generation_options, stop_count, 72);
    AT(cabochon_generation_options, logit_bias, 80);
    AT(cabochon_generation_options, logit_bias_count, 88);
    AT(cabochon_generation_options, draft, 96);
    AT(cabochon_generation_options, interventions, 104);
    AT(cabochon_generation_options, on_features, 112);
    SIZE(cabochon_generation_options, 120);

    AT(cabochon_token_logprob, token, 0);
    AT(cabochon_token_logprob, logprob, 4);
    SIZE(cabochon_token_logprob, 8);
    AT(cabochon_token, struct_size, 0);
    AT(cabochon_token, id, 8);
    AT(cabochon_token, logprob, 12);
    AT(cabochon_token, text, 16);
    AT(cabochon_token, text_len, 24);
    AT(cabochon_token, bytes, 32);
    AT(cabochon_token, bytes_len, 40);
    AT(cabochon_token, alternatives, 48);
    AT(cabochon_token, alternative_count, 56);
    SIZE(cabochon_token, 64);

    AT(cabochon_generation_summary, struct_size, 0);
    AT(cabochon_generation_summary, finish_reason, 8);
    AT(cabochon_generation_summary, prompt_tokens, 12);
    AT(cabochon_generation_summary, decode_tokens, 16);
    AT(cabochon_generation_summary, stop_token, 20);
    AT(cabochon_generation_summary, seed, 24);
    AT(cabochon_generation_summary, prompt_nanoseconds, 32);
    AT(cabochon_generation_summary, decode_nanoseconds, 40);
    AT(cabochon_generation_summary, guessed_tokens, 48);
    AT(cabochon_generation_summary, accepted_tokens, 52);
    AT(cabochon_generation_summary, guard_nanoseconds, 56);
    SIZE(cabochon_generation_summary, 64);

    AT(cabochon_sae_options, struct_size, 0);
    AT(cabochon_sae_options, site, 8);
    AT(cabochon_sae_options, backend, 16);
    AT(cabochon_sae_options, flags, 24);
    AT(cabochon_sae_options, layer, 28);
    AT(cabochon_sae_options, cache, 32);
    SIZE(cabochon_sae_options, 40);
    AT(cabochon_steer, sae, 0);
    AT(cabochon_steer, feature, 8);
    AT(cabochon_steer, mode, 12);
    AT(cabochon_steer, positions, 16);
    AT(cabochon_steer, strength, 20);
    AT(cabochon_steer, position_list, 24);
    AT(cabochon_steer, position_count, 32);
    AT(cabochon_steer, condition_sae, 40);
    AT(cabochon_steer, condition_feature, 48);
    AT(cabochon_steer, condition_threshold, 52);
    AT(cabochon_steer, reserved_, 56);
    SIZE(cabochon_steer, 72);
    AT(cabochon_interventions, struct_size, 0);
    AT(cabochon_interventions, steer, 8);
    AT(cabochon_interventions, steer_count, 16);
    AT(cabochon_interventions, splice, 24);
    AT(cabochon_interventions, splice_count, 32);
    AT(cabochon_interventions, watch, 40);
    AT(cabochon_interventions, watch_count, 48);
    SIZE(cabochon_interventions, 56);

    AT(cabochon_guard_options, struct_size, 0);
    AT(cabochon_guard_options, template_name, 8);
    AT(cabochon_guard_options, prompt_template, 16);
    AT(cabochon_guard_options, response_template, 32);
    AT(cabochon_guard_options, flags, 48);
    AT(cabochon_guard_options, token_budget, 52);
    SIZE(cabochon_guard_options, 56);
    AT(cabochon_guard_policy, name, 0);
    AT(cabochon_guard_policy, text, 16);
    SIZE(cabochon_guard_policy, 32);
    AT(cabochon_guard_row, prompt, 0);
    AT(cabochon_guard_row, prompt_len, 8);
    AT(cabochon_guard_row, response, 16);
    AT(cabochon_guard_row, response_len, 24);
    SIZE(cabochon_guard_row, 32);
    AT(cabochon_verdict, score, 0);
    AT(cabochon_verdict, yes_logit, 8);
    AT(cabochon_verdict, no_logit, 12);
    AT(cabochon_verdict, token_count, 16);
    AT(cabochon_verdict, flags, 20);
    AT(cabochon_verdict, template_name, 24);
    AT(cabochon_verdict, reserved_, 32);
    SIZE(cabochon_verdict, 40);
    AT(cabochon_guarding_options, struct_size, 0);
    AT(cabochon_guarding_options, mode, 8);
    AT(cabochon_guarding_options, interval, 12);
    AT(cabochon_guarding_options, flags, 16);
    AT(cabochon_guarding_options, reserved_, 20);
    AT(cabochon_guarding_options, policies, 24);
    AT(cabochon_guarding_options, policy_count, 32);
    AT(cabochon_guarding_options, thresholds, 40);
    AT(cabochon_guarding_options, threshold_count, 48);
    AT(cabochon_guarding_options, on_check, 56);
    SIZE(cabochon_guarding_options, 64);

    printf("%d passed, 0 failed\n", checks);
    return 0;
}
