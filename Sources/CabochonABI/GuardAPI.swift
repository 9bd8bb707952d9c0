// GuardAPI.swift - the section "Guard" of cabochon.h.

import CCabochon
import Cabochon

extension cabochon_guard_options: SizedStruct { static let firstSize = 56 }

final class GuardHandle: HandleObject {
    static let magic: UInt32 = 0xca60_0010
    let moderator: Guard
    let engine: EngineHandle
    let policies: [(name: CText, text: CText)]
    let cancellation = CancellationOfAll()

    init(_ moderator: Guard, engine: EngineHandle) {
        self.moderator = moderator
        self.engine = engine
        policies = moderator.options.policies.map { (CText($0.name), CText($0.promptText)) }
    }
}

/// A guard that this process may compute with.
func ownGuard(_ handle: OpaquePointer?) throws(CabochonError) -> Guard { try ownGuardHandle(handle).moderator }

private func ownGuardHandle(_ handle: OpaquePointer?) throws(CabochonError) -> GuardHandle {
    guard let object = HandleTable.shared.object(handle, as: GuardHandle.self) else {
        throw CabochonError(
            .invalidHandle, handle == nil ? "the guard is NULL" : "the guard is freed, or a handle of another kind")
    }
    try object.engine.checkProcess()
    return object
}

@c @implementation
public func cabochon_guard_options_init(_ options: UnsafeMutablePointer<cabochon_guard_options>?, _ size: Int) {
    initialise(options, size)
}

@c @implementation
public func cabochon_guard_create(
    _ model: OpaquePointer?, _ options: UnsafePointer<cabochon_guard_options>?,
    _ out_guard: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(giving: out_guard, "out_guard", error) { () throws(CabochonError) in
        let model = try ownModel(model)
        return GuardHandle(
            try Guard(model: model.model, options: try guardOptions(options)), engine: model.engine)
    }
}

private func guardOptions(_ pointer: UnsafePointer<cabochon_guard_options>?) throws(CabochonError) -> Guard.Options {
    let given = try options(pointer, "options")
    var result = Guard.Options()
    try checkFlags(given.flags, known: CABOCHON_GUARD_SHORTEN, "options.flags")
    result.shortensContent = given.flags & CABOCHON_GUARD_SHORTEN != 0
    if given.token_budget != 0 { result.tokenBudget = Int(given.token_budget) }
    let name = try optionalName(given.template_name, "options.template_name") ?? "hf"
    let promptText = try text(given.prompt_template.utf8, given.prompt_template.len, "options.prompt_template")
    let responseText = try text(given.response_template.utf8, given.response_template.len, "options.response_template")
    guard name == "custom" else {
        guard promptText.isEmpty, responseText.isEmpty else {
            throw CabochonError(
                .invalidArgument, "options has texts of a template, but asks for the template \"\(name)\"")
        }
        result.template = try GuardTemplate.named(name)
        return result
    }
    result.template = try GuardTemplate(prompt: promptText, response: responseText.isEmpty ? nil : responseText)
    return result
}

@c @implementation
public func cabochon_guard_retain(_ guard_: OpaquePointer?) -> OpaquePointer? {
    HandleTable.shared.retain(guard_, as: GuardHandle.self)
}

@c @implementation
public func cabochon_guard_free(_ guard_: OpaquePointer?) {
    HandleTable.shared.release(guard_, as: GuardHandle.self)
}

// MARK: Policies

private func policies(_ guard_: OpaquePointer?) -> [(name: CText, text: CText)] {
    HandleTable.shared.object(guard_, as: GuardHandle.self)?.policies ?? []
}

@c @implementation
public func cabochon_guard_policy_count(_ guard_: OpaquePointer?) -> Int { policies(guard_).count }

@c @implementation
public func cabochon_guard_policy_name(_ guard_: OpaquePointer?, _ index: Int) -> UnsafePointer<CChar>? {
    let policies = policies(guard_)
    return policies.indices.contains(index) ? policies[index].name.bytes : nil
}

@c @implementation
public func cabochon_guard_policy_text(_ guard_: OpaquePointer?, _ index: Int) -> UnsafePointer<CChar>? {
    let policies = policies(guard_)
    return policies.indices.contains(index) ? policies[index].text.bytes : nil
}

func policy(_ given: cabochon_guard_policy) throws(CabochonError) -> Policy {
    let name = try text(given.name.utf8, given.name.len, "a policy's name")
    let words = try text(given.text.utf8, given.text.len, "a policy's text")
    return words.isEmpty ? try Policy.named(name) : try Policy(name: name, text: words)
}

/// Nil for none: the guard's own.
func policies(
    _ pointer: UnsafePointer<cabochon_guard_policy>?, _ count: Int
) throws(CabochonError) -> [Policy]? {
    var result: [Policy] = []
    for given in try elements(pointer, count, "policies", atMost: 1 << 10) { result.append(try policy(given)) }
    return result.isEmpty ? nil : result
}

// MARK: Judging

/// Content where the caller has it, checked when it is read.
private struct CallerContent: GuardContent {
    let row: cabochon_guard_row
    /// What errors call the prompt.
    var promptName: StaticString = "prompt"

    func withText<Result>(
        _ body: (_ prompt: UnsafeRawBufferPointer, _ response: UnsafeRawBufferPointer?) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        let prompt = try checkedText(row.prompt, row.prompt_len, promptName)
        // NULL is no response; anything else is one, also of length 0.
        guard row.response != nil || row.response_len != 0 else { return try body(prompt, nil) }
        return try body(prompt, try checkedText(row.response, row.response_len, "response"))
    }
}

extension CallerContent {
    fileprivate init(
        _ prompt: UnsafePointer<CChar>?, _ promptLength: Int, _ response: UnsafePointer<CChar>?, _ responseLength: Int
    ) {
        self.init(
            row: cabochon_guard_row(
                prompt: prompt, prompt_len: promptLength, response: response, response_len: responseLength))
    }
}

/// The verdict in C's form.
func record(of verdict: Verdict) -> cabochon_verdict {
    var record = cabochon_verdict()
    record.score = verdict.score
    record.yes_logit = verdict.logits.yes
    record.no_logit = verdict.logits.no
    record.token_count = UInt32(clamping: verdict.tokenCount)
    record.flags = verdict.isShortened ? CABOCHON_VERDICT_SHORTENED : 0
    let name: StaticString =
        switch verdict.template {
        case "hf": "hf"
        case "paper": "paper"
        case "cookbook": "cookbook"
        default: "custom"
        }
    record.template_name = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    return record
}

@c @implementation
public func cabochon_guard_classify(
    _ guard_: OpaquePointer?, _ prompt: UnsafePointer<CChar>?, _ prompt_len: Int, _ response: UnsafePointer<CChar>?,
    _ response_len: Int, _ policies: UnsafePointer<cabochon_guard_policy>?, _ policy_count: Int,
    _ verdicts: UnsafeMutablePointer<cabochon_verdict>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let handle = try ownGuardHandle(guard_)
        let policies = try CabochonABI.policies(policies, policy_count) ?? handle.moderator.options.policies
        try write(needed: policies.count, verdicts, inout_len) { (room) throws(CabochonError) in
            let content = CallerContent(prompt, prompt_len, response, response_len)
            let results = try handle.cancellation.during { (cancellation) throws(CabochonError) in
                try handle.moderator.classify(content, policies: policies, cancellation: cancellation)
            }
            _ = room.update(fromContentsOf: results.map(record(of:)))
        }
    }
}

@c @implementation
public func cabochon_guard_classify_rows(
    _ guard_: OpaquePointer?, _ rows: UnsafePointer<cabochon_guard_row>?, _ row_count: Int,
    _ policies: UnsafePointer<cabochon_guard_policy>?, _ policy_count: Int,
    _ on_row: cabochon_guard_row_callback?, _ user_data: UnsafeMutableRawPointer?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let handle = try ownGuardHandle(guard_)
        let policies = try CabochonABI.policies(policies, policy_count)
        guard let on_row else { throw CabochonError(.invalidArgument, "on_row is NULL") }
        let rows = try elements(rows, row_count, "rows").lazy.map {
            CallerContent(row: $0, promptName: "a row's prompt")
        }
        try handle.cancellation.during { (cancellation) throws(CabochonError) in
            _ = try handle.moderator.classify(rows, policies: policies, cancellation: cancellation) { row, result in
                tell(row, result, on_row, user_data)
            }
        }
    }
}

private func tell(
    _ row: Int, _ result: Result<[Verdict], CabochonError>, _ callback: cabochon_guard_row_callback,
    _ userData: UnsafeMutableRawPointer?
) -> Bool {
    switch result {
    case .success(let verdicts):
        return verdicts.map(record(of:)).withUnsafeBufferPointer {
            callback(userData, row, $0.baseAddress, $0.count, nil) == 0
        }
    case .failure(let failure):
        let handle = HandleTable.shared.insert(ErrorHandle(failure))
        defer { HandleTable.shared.release(handle, as: ErrorHandle.self) }
        return callback(userData, row, nil, 0, handle) == 0
    }
}

@c @implementation
public func cabochon_guard_render(
    _ guard_: OpaquePointer?, _ prompt: UnsafePointer<CChar>?, _ prompt_len: Int, _ response: UnsafePointer<CChar>?,
    _ response_len: Int, _ policy: UnsafePointer<cabochon_guard_policy>?, _ ids: UnsafeMutablePointer<Int32>?,
    _ inout_len: UnsafeMutablePointer<Int>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let moderator = try ownGuard(guard_)
        guard let policy else { throw CabochonError(.invalidArgument, "policy is NULL") }
        let tokens = try moderator.render(
            CallerContent(prompt, prompt_len, response, response_len), policy: try CabochonABI.policy(policy.pointee))
        try write(tokens, ids, inout_len)
    }
}

@c @implementation
public func cabochon_guard_score(
    _ guard_: OpaquePointer?, _ ids: UnsafePointer<Int32>?, _ id_count: Int, _ out_score: UnsafeMutablePointer<Double>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let handle = try ownGuardHandle(guard_)
        guard let out_score else { throw CabochonError(.invalidArgument, "out_score is NULL") }
        let ids = Array(try prompt(ids, id_count, for: handle.moderator.model))
        out_score.pointee = try handle.cancellation.during { (cancellation) throws(CabochonError) in
            try handle.moderator.score(ids, cancellation: cancellation).score
        }
    }
}

@c @implementation
public func cabochon_guard_cancel(_ guard_: OpaquePointer?) {
    HandleTable.shared.visit(guard_, as: GuardHandle.self) { $0.cancellation.cancel() }
}
