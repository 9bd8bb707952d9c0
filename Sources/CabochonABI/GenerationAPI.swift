// GenerationAPI.swift - the section "Generation" of cabochon.h.

import CCabochon
import Cabochon

@c @implementation
public func cabochon_generation_options_init(_ options: UnsafeMutablePointer<cabochon_generation_options>?, _ size: Int)
{
    initialise(options, size)
}

@c @implementation
public func cabochon_session_generate(
    _ session: OpaquePointer?, _ prompt: UnsafePointer<Int32>?, _ prompt_count: Int,
    _ options: UnsafePointer<cabochon_generation_options>?, _ on_token: cabochon_token_callback?,
    _ user_data: UnsafeMutableRawPointer?, _ out_generation: UnsafeMutablePointer<OpaquePointer?>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    out_generation?.pointee = nil
    return boundary(error) { () throws(CabochonError) in
        try withSession(session) { session throws(CabochonError) in
            let prompt = try addition(prompt, prompt_count, to: session)
            let (wanted, onFeatures) = try generationOptions(options)
            // An answer that cannot be handed over is none.
            try session.allOrNothing { () throws(CabochonError) in
                let result = try session.generate(
                    after: prompt, options: wanted, onToken: { report($0, to: on_token, user_data) },
                    onFeatures: { report($0, to: onFeatures, user_data) })
                guard let out_generation else { return }
                out_generation.pointee = try handle(of: try GenerationHandle(result))
            }
        }
    }
}

/// Hands one token to the caller, if that wants any; everything that the struct points at lives for the call.
///
/// - Returns: whether to go on.
func report(
    _ token: GeneratedToken, to callback: cabochon_token_callback?, _ userData: UnsafeMutableRawPointer?
) -> Bool {
    guard let callback else { return true }
    var text = token.text
    let bytes = token.bytes
    let alternatives = token.alternatives.map { cabochon_token_logprob(token: $0.token, logprob: $0.logprob) }
    var given = cabochon_token()
    given.struct_size = MemoryLayout<cabochon_token>.size
    given.id = token.id
    given.logprob = token.logprob ?? 0
    return text.withUTF8 { text in
        bytes.withUnsafeBufferPointer { bytes in
            alternatives.withUnsafeBufferPointer { alternatives in
                given.text = UnsafeRawPointer(text.baseAddress)?.assumingMemoryBound(to: CChar.self) ?? CText.empty
                given.text_len = text.count
                given.bytes = bytes.baseAddress
                given.bytes_len = bytes.count
                given.alternatives = alternatives.baseAddress
                given.alternative_count = alternatives.count
                return callback(userData, &given) == 0
            }
        }
    }
}

func generationOptions(
    _ pointer: UnsafePointer<cabochon_generation_options>?
) throws(CabochonError) -> (options: GenerationOptions, onFeatures: cabochon_features_callback?) {
    let given = try options(pointer, "options")
    var result = GenerationOptions()
    result.interventions = try interventions(given.interventions)
    try checkFlags(
        given.flags,
        known: CABOCHON_GENERATE_IGNORE_EOS | CABOCHON_GENERATE_SEEDED | CABOCHON_GENERATE_PROMPT_LOOKUP,
        "options.flags")
    result.ignoresEndOfSequence = given.flags & CABOCHON_GENERATE_IGNORE_EOS != 0
    if given.flags & CABOCHON_GENERATE_SEEDED != 0 { result.seed = given.seed }
    if given.max_tokens != 0 { result.maxTokens = Int(given.max_tokens) }

    switch given.sampling {
    case CABOCHON_SAMPLING_GREEDY: result.temperature = 0
    case CABOCHON_SAMPLING_DEFAULT, CABOCHON_SAMPLING_RANDOM:
        if given.temperature != 0 { result.temperature = given.temperature }
    default: throw CabochonError(.unsupportedOption, "options.sampling is \(given.sampling)")
    }
    result.topK = Int(given.top_k)
    if given.top_p != 0 { result.topP = given.top_p }
    result.minP = given.min_p
    if given.repetition_penalty != 0 { result.repetitionPenalty = given.repetition_penalty }
    result.presencePenalty = given.presence_penalty
    result.frequencyPenalty = given.frequency_penalty
    switch given.penalty_window {
    case 0: break
    case CABOCHON_PENALTY_WINDOW_ALL: result.penaltyWindow = 0
    default: result.penaltyWindow = Int(given.penalty_window)
    }
    result.logprobCount = given.logprobs == 0 ? nil : Int(given.logprobs)

    let looksUp = given.flags & CABOCHON_GENERATE_PROMPT_LOOKUP != 0
    if let draft = given.draft {
        guard !looksUp else { throw CabochonError(.invalidArgument, "options: PROMPT_LOOKUP and a draft at once") }
        result.assistance = .draft(try ownModel(draft).model)
    } else if looksUp {
        result.assistance = .promptLookup
    }

    for stop in try elements(given.stop, given.stop_count, "options.stop", atMost: 1 << 10) {
        result.stopStrings.append(try text(stop.utf8, stop.len, "a text of options.stop"))
    }
    for bias in try elements(given.logit_bias, given.logit_bias_count, "options.logit_bias", atMost: 1 << 20) {
        result.logitBias.append((token: bias.token, bias: bias.bias))
    }
    return (result, given.on_features)
}

// MARK: The finished answer

private func live(_ generation: OpaquePointer?) -> GenerationHandle? { HandleTable.shared.object(generation) }

@c @implementation
public func cabochon_generation_text(
    _ generation: OpaquePointer?, _ out_len: UnsafeMutablePointer<Int>?
) -> UnsafePointer<CChar>? {
    let text = live(generation)?.text
    out_len?.pointee = text?.count ?? 0
    return text?.bytes
}

@c @implementation
public func cabochon_generation_tokens(
    _ generation: OpaquePointer?, _ out_count: UnsafeMutablePointer<Int>?
) -> UnsafePointer<Int32>? {
    let tokens = live(generation)?.tokens
    out_count?.pointee = tokens?.count ?? 0
    return tokens?.elements
}

@c @implementation
public func cabochon_generation_logprobs(
    _ generation: OpaquePointer?, _ out_count: UnsafeMutablePointer<Int>?
) -> UnsafePointer<Float>? {
    let logprobs = live(generation)?.logprobs
    out_count?.pointee = logprobs?.count ?? 0
    return logprobs?.elements
}

@c @implementation
public func cabochon_generation_get_summary(
    _ generation: OpaquePointer?, _ out_summary: UnsafeMutablePointer<cabochon_generation_summary>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let answer = try CabochonABI.generation(generation)
        let result = answer.result
        var summary = cabochon_generation_summary()
        summary.finish_reason = UInt32(bitPattern: result.finishReason.rawValue)
        summary.prompt_tokens = UInt32(clamping: result.timings.promptTokens)
        summary.stop_token = result.stopToken ?? -1
        summary.decode_tokens = UInt32(clamping: result.timings.decodeTokens)
        summary.seed = result.seed
        summary.prompt_nanoseconds = nanoseconds(result.timings.promptSeconds)
        summary.decode_nanoseconds = nanoseconds(result.timings.decodeSeconds)
        summary.guessed_tokens = UInt32(clamping: result.timings.guessedTokens)
        summary.accepted_tokens = UInt32(clamping: result.timings.acceptedTokens)
        summary.guard_nanoseconds = nanoseconds(answer.guardSeconds)
        try fill(out_summary, with: summary, "out_summary")
    }
}

/// Whole nanoseconds; 0 for what is no duration.
func nanoseconds(_ seconds: Double) -> UInt64 { UInt64(exactly: (seconds * 1e9).rounded()) ?? 0 }

@c @implementation
public func cabochon_generation_retain(_ generation: OpaquePointer?) -> OpaquePointer? {
    HandleTable.shared.retain(generation, as: GenerationHandle.self)
}

@c @implementation
public func cabochon_generation_free(_ generation: OpaquePointer?) {
    HandleTable.shared.release(generation, as: GenerationHandle.self)
}
