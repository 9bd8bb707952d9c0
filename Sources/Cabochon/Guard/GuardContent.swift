// GuardContent.swift - what a guard judges, wherever its text stands.
//
// Prompts may be as long as memory allows. So they are not copied into strings, which end the process where memory is
// refused: they stay where they are, and what is made of them is made in memory that may fail.

/// A prompt, or a response to one.
public protocol GuardContent {
    /// Hands over the texts, which are valid UTF-8 and live for the call.
    ///
    /// - Parameter body: gets nil for no response: then the prompt is judged.
    /// - Throws: why there are none, or what `body` throws.
    func withText<Result>(
        _ body: (_ prompt: UnsafeRawBufferPointer, _ response: UnsafeRawBufferPointer?) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result
}

/// Content in strings.
public struct GuardRow: GuardContent, Sendable, Equatable {
    public var prompt: String
    public var response: String?

    public init(prompt: String, response: String? = nil) {
        self.prompt = prompt
        self.response = response
    }

    public func withText<Result>(
        _ body: (_ prompt: UnsafeRawBufferPointer, _ response: UnsafeRawBufferPointer?) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        try prompt.withBytes { (prompt) throws(CabochonError) in
            guard let response else { return try body(prompt, nil) }
            return try response.withBytes { (response) throws(CabochonError) in try body(prompt, response) }
        }
    }
}
