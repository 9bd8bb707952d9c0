// Answer.swift - one generated answer: streamed as it comes, then told in numbers.

import Cabochon

/// How an answer came to its end, as JSON and Python name it.
enum AnswerEnd: String {
    case endOfSequence = "eos"
    case stopString = "stop"
    case maxTokens = "length"
    case contextFull = "context"
    case contentFilter = "content_filter"
    /// Ctrl-C.
    case cancelled

    init(_ reason: FinishReason) {
        switch reason {
        case .endOfSequence: self = .endOfSequence
        case .stopString: self = .stopString
        case .maxTokens: self = .maxTokens
        case .stopped: self = .cancelled
        case .contextFull: self = .contextFull
        case .contentFilter: self = .contentFilter
        }
    }

    var words: String {
        switch self {
        case .endOfSequence: "ended by the model"
        case .stopString: "ended at a stop text"
        case .maxTokens: "cut at --max-tokens"
        case .contextFull: "cut where the context is full"
        case .contentFilter: "stopped by a guard"
        case .cancelled: "stopped by Ctrl-C"
        }
    }
}

struct Answer {
    var text = ""
    var end = AnswerEnd.cancelled
    /// Nil where Ctrl-C came before the first token.
    var result: GenerationResult?
    /// What each watched dictionary found, for each token that was read or generated.
    private var watched: [(sae: SparseAutoencoder, report: FeatureReport)] = []
    private let isSampled: Bool

    /// Generates after `prompt`; Ctrl-C ends it early, with what there is by then.
    ///
    /// - Parameter onText: called with each piece of text, whole characters only. Where it throws, the answer ends.
    init(
        after prompt: [Int32], in session: Session, options: GenerationOptions, onText: (String) throws(Failure) -> Void
    ) throws(Failure) {
        var streamed = ""
        var failure: Failure?
        var parts = options.interventions.watch.map { _ in [WatchedFeatures]() }
        do {
            result = try Interrupt.watch(session.cancellation) { () throws(CabochonError) in
                try prompt.withUnsafeBufferPointer { (tokens) throws(CabochonError) in
                    try session.generate(
                        after: tokens, options: options,
                        onToken: { token in
                            Interrupt.answerBegan(session.cancellation)
                            do throws(Failure) {
                                if !token.text.isEmpty { try onText(token.text) }
                            } catch {
                                // It cannot pass through the library: it ends the answer, and is thrown after it.
                                failure = error
                            }
                            streamed += token.text
                            return failure == nil && !Interrupt.wasRequested
                        },
                        onFeatures: { parts[$0.watchIndex].append($0) })
                }
            }
        } catch {
            guard error.code == .cancelled else { throw Failure(error.message) }
        }
        if let failure { throw failure }
        isSampled = options.temperature > 0
        guard let result else { return }
        text = result.text
        end = AnswerEnd(result.finishReason)
        // What waited for the rest of a character or of a stop text when Ctrl-C came.
        let rest = text.unicodeScalars.dropFirst(streamed.unicodeScalars.count)
        if !rest.isEmpty { try onText(String(rest)) }
        let tokens = session.tokens
        watched = try orFail { () throws(CabochonError) in
            var watched: [(sae: SparseAutoencoder, report: FeatureReport)] = []
            for (sae, parts) in zip(options.interventions.watch, parts) {
                let report = FeatureReport(
                    model: session.model, tokens: parts.flatMap(\.positions).map { tokens[$0] },
                    features: try Features.joining(parts.map(\.features)))
                watched.append((sae, report))
            }
            return watched
        }
    }

    /// A table for each watched dictionary; empty without.
    var featureTables: String {
        watched.map { "\n\($0.sae.site.name) of \($0.sae.path)\n\($0.report.table(6))" }.joined()
    }

    private var logprobs: [JSONValue] {
        (result?.logprobs ?? []).map { entry in
            .object([
                "token": .integer(Int(entry.chosen.token)), "logprob": .number(entry.chosen.logprob),
                "top": .array(
                    entry.alternatives.map {
                        .object(["token": .integer(Int($0.token)), "logprob": .number($0.logprob)])
                    }),
            ])
        }
    }

    /// The fields that generate and chat share.
    func json(model: Model, including first: KeyValuePairs<String, JSONValue>) -> JSONValue {
        var object = JSONObject()
        for (key, value) in first { _ = object.append(key: key, value: value) }
        _ = object.append(key: "tokens", value: .integers(result?.tokens ?? []))
        _ = object.append(key: "finish_reason", value: .string(end.rawValue))
        if !logprobs.isEmpty { _ = object.append(key: "logprobs", value: .array(logprobs)) }
        if !watched.isEmpty {
            let features = watched.map { watched in
                JSONValue.object([
                    "sae": .string(watched.sae.path), "site": .string(watched.sae.site.name),
                    "results": .array(watched.report.bySource()),
                ])
            }
            _ = object.append(key: "features", value: .array(features))
        }
        _ = object.append(key: "seed", value: result.map { .integer(Int64(clamping: $0.seed)) } ?? .null)
        _ = object.append(key: "model", value: .string(model.path))
        _ = object.append(key: "backend", value: .string(model.backend))
        _ = object.append(key: "threads", value: .integer(model.engine.threadCount))
        _ = object.append(key: "timings", value: result.map { Self.describe($0.timings) } ?? .null)
        return .object(object)
    }

    private static func describe(_ timings: Timings) -> JSONValue {
        .object([
            "prompt_tokens": .integer(timings.promptTokens), "prompt_seconds": .number(timings.promptSeconds),
            "prompt_tokens_per_second": timings.promptRate.map { .number($0) } ?? .null,
            "decode_tokens": .integer(timings.decodeTokens), "decode_seconds": .number(timings.decodeSeconds),
            "decode_tokens_per_second": timings.decodeRate.map { .number($0) } ?? .null,
        ])
    }

    /// One line for people, for standard error.
    func summary(model: Model) -> String {
        let threads = model.engine.threadCount
        var parts = ["\(model.backend), \(threads) \(threads == 1 ? "thread" : "threads")"]
        if let timings = result?.timings {
            func part(_ name: String, _ tokens: Int, _ rate: Double?) -> String {
                let rate = rate.map { ", \(fixed($0, 1)) tokens/s" } ?? ""
                return "\(name) \(tokens) \(tokens == 1 ? "token" : "tokens")\(rate)"
            }
            parts.append(part("prompt", timings.promptTokens, timings.promptRate))
            parts.append(part("decode", timings.decodeTokens, timings.decodeRate))
        }
        parts.append(end.words)
        if isSampled, let seed = result?.seed { parts.append("seed \(seed)") }
        return parts.joined(separator: "; ")
    }
}

extension Timings {
    /// Tokens a second; nil where there is nothing to measure.
    fileprivate var promptRate: Double? { Self.rate(promptTokens, promptSeconds) }

    /// Of the tokens after the first, with which the time begins.
    fileprivate var decodeRate: Double? { Self.rate(decodeTokens - 1, decodeSeconds) }

    private static func rate(_ tokens: Int, _ seconds: Double) -> Double? {
        tokens > 0 && seconds > 0 ? Double(tokens) / seconds : nil
    }
}
