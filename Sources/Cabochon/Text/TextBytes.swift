// TextBytes.swift - the UTF-8 of texts, borrowed: what the tokenizer and the templates work on.

extension String {
    /// Hands over the string's UTF-8, which lives for the call.
    func withBytes<Value>(
        _ body: (UnsafeRawBufferPointer) throws(CabochonError) -> Value
    ) throws(CabochonError) -> Value {
        var text = self
        let result: Result<Value, CabochonError> = text.withUTF8 { text in
            do throws(CabochonError) { return .success(try body(UnsafeRawBufferPointer(text))) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

/// Text of the program's own.
func bytes(_ text: StaticString) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
}
