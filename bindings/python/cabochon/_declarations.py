"""cabochon.h in ctypes: structs, constants and the signature of every function.

A test compares this with the header, so that neither can go its own way.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, List, Tuple

OK = 0
BUFFER_TOO_SMALL = -9

LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_uint32, c_void_p, c_size_t)


class EngineOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("threads", c_uint32),
        ("plugins", c_uint32),
        ("backend_paths", POINTER(c_char_p)),
        ("backend_path_count", c_size_t),
        ("log", LOG_CALLBACK),
        ("log_user_data", c_void_p),
    ]


KV_TYPES = {"f16": 1, "f32": 2, "q8_0": 3}
EMBEDDING_SCALES = {"bf16": 1, "f32": 2}
LOAD_VOCABULARY_ONLY = 1
LOAD_COPY = 2


class ModelOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("backend", c_char_p),
        ("kv_type", c_uint32),
        ("embedding_scale", c_uint32),
        ("flags", c_uint32),
        ("context_length", c_uint32),
    ]


TOKENIZE_ADD_BOS = 1
TOKENIZE_PARSE_SPECIAL = 2
CHAT_ADD_GENERATION_PROMPT = 1
CHAT_TURN_IS_CLOSED = 4


class Message(ctypes.Structure):
    _fields_ = [("role", c_char_p), ("role_len", c_size_t), ("content", c_char_p), ("content_len", c_size_t)]


class SessionOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("context_length", c_uint32), ("reserved_", c_uint32)]


class Text(ctypes.Structure):
    _fields_ = [("utf8", c_char_p), ("len", c_size_t)]


class LogitBias(ctypes.Structure):
    _fields_ = [("token", c_int32), ("bias", c_float)]


SAMPLING_RANDOM = 1
SAMPLING_GREEDY = 2
GENERATE_IGNORE_EOS = 1
GENERATE_SEEDED = 2
GENERATE_PROMPT_LOOKUP = 4
FINISH_REASONS = {1: "eos", 2: "stop", 3: "length", 4: "callback", 5: "context", 6: "content_filter"}


class SAEOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("site", c_char_p),
        ("backend", c_char_p),
        ("flags", c_uint32),
        ("layer", c_uint32),
        ("cache", c_char_p),
    ]


SAE_LAYER = 1
SAE_IN_MEMORY = 2
STEER_MODES = {"add": 1, "set": 2, "scale": 3, "ablate": 4, "orthogonal": 5, "cap": 6}
POSITIONS_ALL = 1
POSITIONS_ANSWER = 2
POSITIONS_LISTED = 3


class Steer(ctypes.Structure):
    _fields_ = [
        ("sae", c_void_p),
        ("feature", c_uint32),
        ("mode", c_uint32),
        ("positions", c_uint32),
        ("strength", c_float),
        ("position_list", POINTER(c_size_t)),
        ("position_count", c_size_t),
        ("condition_sae", c_void_p),
        ("condition_feature", c_uint32),
        ("condition_threshold", c_float),
        ("reserved_", c_uint64 * 2),
    ]


class Interventions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("steer", POINTER(Steer)),
        ("steer_count", c_size_t),
        ("splice", POINTER(c_void_p)),
        ("splice_count", c_size_t),
        ("watch", POINTER(c_void_p)),
        ("watch_count", c_size_t),
    ]


FEATURES_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, POINTER(c_size_t), c_void_p)


class GenerationOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("sampling", c_uint32),
        ("flags", c_uint32),
        ("max_tokens", c_uint32),
        ("temperature", c_float),
        ("top_k", c_uint32),
        ("top_p", c_float),
        ("min_p", c_float),
        ("repetition_penalty", c_float),
        ("presence_penalty", c_float),
        ("frequency_penalty", c_float),
        ("penalty_window", c_uint32),
        ("logprobs", c_uint32),
        ("seed", c_uint64),
        ("stop", POINTER(Text)),
        ("stop_count", c_size_t),
        ("logit_bias", POINTER(LogitBias)),
        ("logit_bias_count", c_size_t),
        ("draft", c_void_p),
        ("interventions", POINTER(Interventions)),
        ("on_features", FEATURES_CALLBACK),
    ]


class TokenLogprob(ctypes.Structure):
    _fields_ = [("token", c_int32), ("logprob", c_float)]


class Token(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("id", c_int32),
        ("logprob", c_float),
        ("text", c_void_p),
        ("text_len", c_size_t),
        ("bytes", POINTER(c_uint8)),
        ("bytes_len", c_size_t),
        ("alternatives", POINTER(TokenLogprob)),
        ("alternative_count", c_size_t),
    ]


class GenerationSummary(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("finish_reason", c_uint32),
        ("prompt_tokens", c_uint32),
        ("decode_tokens", c_uint32),
        ("stop_token", c_int32),
        ("seed", c_uint64),
        ("prompt_nanoseconds", c_uint64),
        ("decode_nanoseconds", c_uint64),
        ("guessed_tokens", c_uint32),
        ("accepted_tokens", c_uint32),
        ("guard_nanoseconds", c_uint64),
    ]


GUARD_SHORTEN = 1
VERDICT_SHORTENED = 1


class GuardOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("template_name", c_char_p),
        ("prompt_template", Text),
        ("response_template", Text),
        ("flags", c_uint32),
        ("token_budget", c_uint32),
    ]


class GuardPolicy(ctypes.Structure):
    _fields_ = [("name", Text), ("text", Text)]


class GuardRow(ctypes.Structure):
    _fields_ = [("prompt", c_char_p), ("prompt_len", c_size_t), ("response", c_char_p), ("response_len", c_size_t)]


class Verdict(ctypes.Structure):
    _fields_ = [
        ("score", c_double),
        ("yes_logit", c_float),
        ("no_logit", c_float),
        ("token_count", c_uint32),
        ("flags", c_uint32),
        ("template_name", c_char_p),
        ("reserved_", c_uint64),
    ]


GUARDING_MODES = {"hold": 1, "window": 2, "audit": 3}
GUARDING_SKIP_PROMPT = 1
GUARDING_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_size_t, POINTER(Verdict), c_size_t)


class GuardingOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("mode", c_uint32),
        ("interval", c_uint32),
        ("flags", c_uint32),
        ("reserved_", c_uint32),
        ("policies", POINTER(GuardPolicy)),
        ("policy_count", c_size_t),
        ("thresholds", POINTER(c_double)),
        ("threshold_count", c_size_t),
        ("on_check", GUARDING_CALLBACK),
    ]


GUARD_ROW_CALLBACK = ctypes.CFUNCTYPE(c_int32, c_void_p, c_size_t, POINTER(Verdict), c_size_t, c_void_p)

TOKEN_CALLBACK = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(Token))

_status = c_int32
_handle = c_void_p
_out_handle = POINTER(c_void_p)
_error = POINTER(c_void_p)
_ids = POINTER(c_int32)
_floats = POINTER(c_float)
_len = POINTER(c_size_t)
_buffer = c_char_p
_content = [c_char_p, c_size_t, c_char_p, c_size_t]
_chat = [_handle, POINTER(Message), c_size_t, c_uint32]

FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {
    "cabochon_abi_version": (c_uint32, []),
    "cabochon_version": (c_char_p, []),
    "cabochon_error_code": (_status, [_handle]),
    "cabochon_error_message": (c_void_p, [_handle, _len]),
    "cabochon_status_name": (c_char_p, [_status]),
    "cabochon_error_retain": (_handle, [_handle]),
    "cabochon_error_free": (None, [_handle]),
    "cabochon_engine_options_init": (None, [POINTER(EngineOptions), c_size_t]),
    "cabochon_engine_create": (_status, [POINTER(EngineOptions), _out_handle, _error]),
    "cabochon_engine_retain": (_handle, [_handle]),
    "cabochon_engine_free": (None, [_handle]),
    "cabochon_engine_backend_count": (c_size_t, [_handle]),
    "cabochon_engine_backend_name": (c_char_p, [_handle, c_size_t]),
    "cabochon_engine_thread_count": (c_uint32, [_handle]),
    "cabochon_engine_describe": (_status, [_handle, _buffer, _len, _error]),
    "cabochon_model_options_init": (None, [POINTER(ModelOptions), c_size_t]),
    "cabochon_model_load": (_status, [_handle, c_char_p, POINTER(ModelOptions), _out_handle, _error]),
    "cabochon_model_retain": (_handle, [_handle]),
    "cabochon_model_free": (None, [_handle]),
    "cabochon_model_architecture": (c_char_p, [_handle]),
    "cabochon_model_vocab_size": (c_uint32, [_handle]),
    "cabochon_model_hidden_size": (c_uint32, [_handle]),
    "cabochon_model_layer_count": (c_uint32, [_handle]),
    "cabochon_model_context_length": (c_uint32, [_handle]),
    "cabochon_model_bos_id": (c_int32, [_handle]),
    "cabochon_model_eos_ids": (_status, [_handle, _ids, _len, _error]),
    "cabochon_model_describe": (_status, [_handle, _buffer, _len, _error]),
    "cabochon_model_backend": (_status, [_handle, _buffer, _len, _error]),
    "cabochon_model_set_backend": (_status, [_handle, c_char_p, _error]),
    "cabochon_model_tokenize": (_status, [_handle, c_char_p, c_size_t, c_uint32, _ids, _len, _error]),
    "cabochon_model_detokenize": (_status, [_handle, _ids, c_size_t, _buffer, _len, _error]),
    "cabochon_model_token_piece": (_status, [_handle, c_int32, _buffer, _len, _error]),
    "cabochon_model_apply_chat_template": (_status, _chat + [_buffer, _len, _error]),
    "cabochon_model_render_chat": (_status, _chat + [_ids, _len, _error]),
    "cabochon_model_render_turn": (_status, _chat + [_ids, _len, _error]),
    "cabochon_model_logits": (_status, [_handle, _ids, c_size_t, _floats, _len, _error]),
    "cabochon_model_site_width": (_status, [_handle, c_char_p, _len, _error]),
    "cabochon_model_activations": (
        _status,
        [_handle, _ids, c_size_t, POINTER(c_char_p), c_size_t, POINTER(_floats), _len, _error],
    ),
    "cabochon_sae_options_init": (None, [POINTER(SAEOptions), c_size_t]),
    "cabochon_sae_load": (_status, [_handle, c_char_p, POINTER(SAEOptions), _out_handle, _error]),
    "cabochon_sae_only": (_status, [_handle, POINTER(c_uint32), c_size_t, _out_handle, _error]),
    "cabochon_sae_retain": (_handle, [_handle]),
    "cabochon_sae_free": (None, [_handle]),
    "cabochon_sae_width": (c_uint32, [_handle]),
    "cabochon_sae_input_size": (c_uint32, [_handle]),
    "cabochon_sae_output_size": (c_uint32, [_handle]),
    "cabochon_sae_layer": (c_uint32, [_handle]),
    "cabochon_sae_average_l0": (c_uint32, [_handle]),
    "cabochon_sae_site": (c_char_p, [_handle]),
    "cabochon_sae_kind": (c_char_p, [_handle]),
    "cabochon_sae_direction": (_status, [_handle, c_uint32, _floats, _len, _error]),
    "cabochon_features_create": (
        _status,
        [c_size_t, c_size_t, POINTER(c_size_t), POINTER(c_uint32), _floats, _out_handle, _error],
    ),
    "cabochon_features_retain": (_handle, [_handle]),
    "cabochon_features_free": (None, [_handle]),
    "cabochon_features_width": (c_size_t, [_handle]),
    "cabochon_features_row_count": (c_size_t, [_handle]),
    "cabochon_features_offsets": (POINTER(c_size_t), [_handle, _len]),
    "cabochon_features_indices": (POINTER(c_uint32), [_handle, _len]),
    "cabochon_features_values": (_floats, [_handle, _len]),
    "cabochon_features_excluded": (POINTER(c_uint8), [_handle, _len]),
    "cabochon_sae_encode": (_status, [_handle, _floats, c_size_t, _out_handle, _error]),
    "cabochon_sae_decode": (_status, [_handle, _handle, _floats, _floats, _len, _error]),
    "cabochon_model_cancel": (None, [_handle]),
    "cabochon_model_features": (_status, [_handle, _ids, c_size_t, POINTER(_handle), c_size_t, _out_handle, _error]),
    "cabochon_interventions_init": (None, [POINTER(Interventions), c_size_t]),
    "cabochon_model_logits_with": (
        _status,
        [_handle, _ids, c_size_t, POINTER(Interventions), _floats, _len, _error],
    ),
    "cabochon_session_options_init": (None, [POINTER(SessionOptions), c_size_t]),
    "cabochon_session_create": (_status, [_handle, POINTER(SessionOptions), _out_handle, _error]),
    "cabochon_session_retain": (_handle, [_handle]),
    "cabochon_session_free": (None, [_handle]),
    "cabochon_session_length": (c_size_t, [_handle]),
    "cabochon_session_context_length": (c_size_t, [_handle]),
    "cabochon_session_tokens": (_status, [_handle, _ids, _len, _error]),
    "cabochon_session_append": (_status, [_handle, _ids, c_size_t, _error]),
    "cabochon_session_logits": (_status, [_handle, _floats, _len, _error]),
    "cabochon_session_truncate": (_status, [_handle, c_size_t, _error]),
    "cabochon_session_fork": (_status, [_handle, _out_handle, _error]),
    "cabochon_session_save": (_status, [_handle, c_char_p, _error]),
    "cabochon_session_restore": (_status, [_handle, c_char_p, _out_handle, _error]),
    "cabochon_session_cancel": (None, [_handle]),
    "cabochon_generation_options_init": (None, [POINTER(GenerationOptions), c_size_t]),
    "cabochon_session_generate": (
        _status,
        [_handle, _ids, c_size_t, POINTER(GenerationOptions), TOKEN_CALLBACK, c_void_p, _out_handle, _error],
    ),
    "cabochon_generation_text": (c_void_p, [_handle, _len]),
    "cabochon_generation_tokens": (_ids, [_handle, _len]),
    "cabochon_generation_logprobs": (_floats, [_handle, _len]),
    "cabochon_generation_get_summary": (_status, [_handle, POINTER(GenerationSummary), _error]),
    "cabochon_generation_retain": (_handle, [_handle]),
    "cabochon_generation_free": (None, [_handle]),
    "cabochon_guard_options_init": (None, [POINTER(GuardOptions), c_size_t]),
    "cabochon_guard_create": (_status, [_handle, POINTER(GuardOptions), _out_handle, _error]),
    "cabochon_guard_retain": (_handle, [_handle]),
    "cabochon_guard_free": (None, [_handle]),
    "cabochon_guard_policy_count": (c_size_t, [_handle]),
    "cabochon_guard_policy_name": (c_char_p, [_handle, c_size_t]),
    "cabochon_guard_policy_text": (c_char_p, [_handle, c_size_t]),
    "cabochon_guard_classify": (
        _status,
        [_handle, *_content, POINTER(GuardPolicy), c_size_t, POINTER(Verdict), _len, _error],
    ),
    "cabochon_guard_classify_rows": (
        _status,
        [_handle, POINTER(GuardRow), c_size_t, POINTER(GuardPolicy), c_size_t, GUARD_ROW_CALLBACK, c_void_p, _error],
    ),
    "cabochon_guard_render": (_status, [_handle, *_content, POINTER(GuardPolicy), _ids, _len, _error]),
    "cabochon_guard_score": (_status, [_handle, _ids, c_size_t, POINTER(c_double), _error]),
    "cabochon_guard_cancel": (None, [_handle]),
    "cabochon_guarding_options_init": (None, [POINTER(GuardingOptions), c_size_t]),
    "cabochon_guard_generate": (
        _status,
        [_handle, _handle, _ids, c_size_t, c_char_p, c_size_t, POINTER(GenerationOptions), POINTER(GuardingOptions),
         TOKEN_CALLBACK, c_void_p, _out_handle, _error],
    ),
    "cabochon_generation_filter_policy": (c_char_p, [_handle]),
}
