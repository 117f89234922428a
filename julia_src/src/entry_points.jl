# What other languages call.

"Names and addresses of the entry points."
entry_points() = Dict(
    "open" => @cfunction(c_open, Int64, (Ptr{UInt8}, Ptr{UInt8}, Int64)),
    "close" => @cfunction(c_close, Int64, (Int64,)),
    "forward" => @cfunction(c_forward, Int64, (Int64, Int64, Ptr{Int64}, Ptr{Float64}, Ptr{UInt8}, Int64)),
    "river" => @cfunction(c_river, Int64, (Int64, Int64, Ptr{Int64}, Ptr{Int64}, Ptr{Float64}, Ptr{UInt8}, Int64)),
    "evaluate" => @cfunction(c_evaluate, Int64, (Int64, Int64, Ptr{Int64}, Ptr{UInt8}, Int64)),
    "weights" => @cfunction(c_weights, Int64, (Int64, Int64, Ptr{Float64}, Ptr{UInt8}, Int64)),
    "steps" => @cfunction(c_steps, Int64, (Int64, Ptr{Cvoid}, Int64, Ptr{UInt8}, Int64)),
    "backward" => @cfunction(c_backward, Int64, (Int64, Ptr{Int64}, Ptr{UInt8}, Int64)),
    "release" => @cfunction(c_release, Int64, (Int64,)),
    "function_open" => @cfunction(c_function_open, Int64, (Ptr{UInt8}, Ptr{UInt8}, Ptr{UInt8}, Int64)),
    "function_close" => @cfunction(c_function_close, Int64, (Int64,)),
    "function_size" => @cfunction(c_function_size, Int64, (Int64, Int64, Ptr{Cvoid}, Int64, Ptr{UInt8}, Int64)),
    "function_call" => @cfunction(c_function_call, Int64, (Int64, Int64, Ptr{Int64}, Ptr{UInt8}, Int64)),
    "nothing" => @cfunction(c_nothing, Int64, (Ptr{Float64}, Ptr{Float64}, Ptr{Float64}))
)

entry_points_text() = join(("$name $(UInt(address))" for (name, address) in entry_points()), "\n")
