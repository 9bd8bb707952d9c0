// GuardedGenerationAPI.swift - the section "Guard" of cabochon.h: answers with a guard before them.

import CCabochon
import Cabochon

extension cabochon_guarding_options: SizedStruct { static let firstSize = 64 }

@c @implementation
public func cabochon_guarding_options_init(_ options: UnsafeMutablePointer<cabochon_guarding_options>?, _ size: Int) {
    initialise(options, size)
}

private func guardingOptions(
    _ pointer: UnsafePointer<cabochon_guarding_options>?, for moderator: Guard
) throws(CabochonError) -> (options: GuardingOptions, onCheck: cabochon_guarding_callback?) {
    guard pointer != nil else { throw CabochonError(.invalidArgument, "guarding is NULL") }
    let given = try options(pointer, "guarding")
    var result = GuardingOptions()
    switch given.mode {
    case CABOCHON_GUARDING_DEFAULT, CABOCHON_GUARDING_HOLD: result.mode = .hold
    case CABOCHON_GUARDING_WINDOW: result.mode = .window
    case CABOCHON_GUARDING_AUDIT: result.mode = .audit
    default: throw CabochonError(.unsupportedOption, "guarding.mode is \(given.mode)")
    }
    try checkFlags(given.reserved_, known: 0, "guarding.reserved_")
    try checkFlags(given.flags, known: CABOCHON_GUARDING_SKIP_PROMPT, "guarding.flags")
    result.checksPrompt = given.flags & CABOCHON_GUARDING_SKIP_PROMPT == 0
    result.interval = given.interval == 0 && result.mode != .hold ? 16 : Int(given.interval)
    let policies = try CabochonABI.policies(given.policies, given.policy_count) ?? moderator.options.policies
    result.policies = policies
    let thresholds = try elements(given.thresholds, given.threshold_count, "guarding.thresholds", atMost: 1 << 10)
    guard [0, 1, policies.count].contains(thresholds.count) else {
        throw CabochonError(.invalidArgument, "\(thresholds.count) thresholds for \(policies.count) policies")
    }
    if !thresholds.isEmpty {
        for (index, policy) in policies.enumerated() {
            result.thresholds[policy.name] = thresholds[thresholds.count == 1 ? 0 : index]
        }
    }
    return (result, given.on_check)
}

@c @implementation
public func cabochon_guard_generate(
    _ guard_: OpaquePointer?, _ session: OpaquePointer?, _ prompt: UnsafePointer<Int32>?, _ prompt_count: Int,
    _ prompt_text: UnsafePointer<CChar>?, _ prompt_text_len: Int,
    _ options: UnsafePointer<cabochon_generation_options>?, _ guarding: UnsafePointer<cabochon_guarding_options>?,
    _ on_token: cabochon_token_callback?, _ user_data: UnsafeMutableRawPointer?,
    _ out_generation: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    out_generation?.pointee = nil
    return boundary(error) { () throws(CabochonError) in
        let moderator = try ownGuard(guard_)
        try withSession(session) { session throws(CabochonError) in
            let prompt = Array(try addition(prompt, prompt_count, to: session))
            let (options, onFeatures) = try generationOptions(options)
            let (guarding, onCheck) = try guardingOptions(guarding, for: moderator)
            let promptText = try text(prompt_text, prompt_text_len, "prompt_text")
            try session.allOrNothing { () throws(CabochonError) in
                let result = try moderator.generate(
                    in: session, after: prompt, promptText: promptText, options: options, guarding: guarding,
                    onCheck: { check in
                        guard let onCheck else { return }
                        check.verdicts.map(record(of:)).withUnsafeBufferPointer { verdicts in
                            onCheck(
                                user_data, check.answerTokens == nil ? 0 : 1, check.answerTokens ?? 0,
                                verdicts.baseAddress, verdicts.count)
                        }
                    },
                    onToken: { report($0, to: on_token, user_data) },
                    onFeatures: { report($0, to: onFeatures, user_data) })
                guard let out_generation else { return }
                let answer = try GenerationHandle(
                    result.generation, filterPolicy: result.violation?.policy, guardSeconds: result.checkSeconds)
                out_generation.pointee = try handle(of: answer)
            }
        }
    }
}

@c @implementation
public func cabochon_generation_filter_policy(_ generation: OpaquePointer?) -> UnsafePointer<CChar>? {
    HandleTable.shared.object(generation, as: GenerationHandle.self)?.filterPolicy?.bytes
}
