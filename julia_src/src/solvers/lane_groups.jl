# Columns side by side: which models take several at once, what a group of columns reads and writes, and the equations of all.

"Whether columns can be solved side by side with these options."
side_by_side(m::Model, o::Options, replay) = replay === nothing && !o.checkpoints && together(m, o)
together(m::Model, o::Options) = false
together(m::SmallModel, o::Options{Float64}) = o.step > 0 && !o.tableau.explicit && branchless(m)

const BRANCHLESS = Dict{UInt,Bool}()

"Whether the functions of a model work for several columns at once: they are tried."
branchless(m::Model) = lock(() -> get!(() -> dynamic(tried)(m)::Bool, BRANCHLESS, objectid(m)), POOL_LOCK)

function tried(m::SmallModel{N}) where {N}
    L = LaneNumber{Float64}
    u, f = ones(SVector{N,L}), ones_of(spec(m).forcings, L)
    p = merge(ones_of(spec(m).parameters, L), map(with_weights, m.networks))
    return works() do
        w = prepared(m, f, p)
        changes, _ = both(m, seed(u), w, p)
        m.jacobian === nothing || m.jacobian(u, w, p)
        m.linearise === nothing || linearise(m, u, w, p)
        m.guess === nothing || m.guess(w, p)
        m.ahead === nothing || m.ahead(u, w, p, terms_at(m, u, w, p), one(L))
        all(x -> x isa Union{L,DualLanes{L}}, changes) && m.storage(seed(u), p) isa SVector
    end
end

function works(f)
    try
        return f()
    catch error
        error isa Union{TypeError,MethodError,ArgumentError,InexactError} || rethrow()
        return false
    end
end

ones_of(names, ::Type{L}) where {L} = NamedTuple{Tuple(names)}(ntuple(_ -> one(L), length(names)))

"Inputs of a group of `count` columns; those beyond the last one repeat it. `varying` where parameters change from interval to interval."
struct Group{T,P,F,NP,NF,N}
    columns::NTuple{LANES,Int}
    count::Int
    varying::Bool
    names::NamedInputs{T,P,F,NP,NF,N}
end

Group(m::Model, inputs::Inputs{T}, columns, net::Networks) where {T} = Group(NamedInputs(m, T, net), inputs, columns)

function Group(names::NamedInputs{T}, inputs::Inputs{T}, columns) where {T}
    clear!(names.networks)
    bind_weights!(names.networks, inputs.weights)
    return Group(ntuple(lane -> columns[min(lane, end)], Val(LANES)), length(columns), varying(inputs), names)
end

@inline column_of(g::Group, lane) = g.columns[lane]
@inline gather(g::Group, field::Field, k, l=1) = lanes(lane -> load(field, column_of(g, lane), k, l))

@inline forcing_at(g::Group{T,P,F,NP,NF}, inputs::Inputs, k) where {T,P,F,NP,NF} =
    SVector(ntuple(i -> (@inline; gather(g, inputs.forcing[i], k)), Val(NF)))
# not inlined: it is read once, but where it changes from day to day
parameters_at(g::Group{T,P,F,NP}, inputs::Inputs, k) where {T,P,F,NP} =
    SVector(ntuple(i -> gather(g, inputs.parameters[i], k), Val(NP)))
@inline values_at(g::Group, inputs::Inputs, k) = parameters_at(g, inputs, k), forcing_at(g, inputs, k)

"The same from those of another interval: only what changes is read."
@inline function values_at(g::Group{T,P,F,NP,NF}, inputs::Inputs, k, parameters, forcing) where {T,P,F,NP,NF}
    p = g.varying ? parameters_at(g, inputs, k) : parameters
    return p,
    SVector(ntuple(i -> (@inline; inputs.forcing[i].time == 0 ? forcing[i] : gather(g, inputs.forcing[i], k)), Val(NF)))
end

"Parameters, and what the equations read of the forcing."
@inline function inputs_of(m::SmallModel, g::Group, parameters, forcing)
    p, f = named(g.names, parameters, forcing)
    return p, prepared(m, f, p)
end

"Cotangents of a result; columns that repeat the last one have none."
@inline cotangents_at(g::Group, field::Field, k) =
    lanes(lane -> lane > g.count ? 0.0 : Float64(load(field, column_of(g, lane), k)))

"The same in the wanted rows of a table of columns."
@inline rows_of(g::Group, pointer, stride, offset, ::Val{N}) where {N} =
    SVector(
        ntuple(
            i -> lanes(
                lane ->
                    lane > g.count ? 0.0 : Float64(unsafe_load(pointer, (column_of(g, lane) - 1) * stride + offset + i))
            ),
            Val(N)
        )
    )

@inline function write_rows!(g::Group, pointer, stride, offset, values)
    for lane in 1:g.count, i in eachindex(values)
        unsafe_store!(pointer, values[i].x[lane], (column_of(g, lane) - 1) * stride + offset + i)
    end
end

"Write what is wanted of the end of interval k of K: states, storage and fluxes, or some of the fluxes alone."
@inline function write_interval!(g::Group, r::Results, K, k, u::SVector{N}, storage, fluxes::SVector{Q}) where {N,Q}
    if r.only == 0
        write_rows!(g, r.states, N * K, (k - 1) * N, u)
        write_storage!(g, r, K, k, storage)
        write_rows!(g, r.fluxes, Q * K, (k - 1) * Q, fluxes)
    else
        q = flux_count(r, Q)
        ntuple(Val(Q)) do i  # in registers: an index that is not known when it is compiled would go through memory
            place = flux_place(r, i)
            place == 0 || write_rows!(g, r.fluxes, q * K, (k - 1) * q + place - 1, SVector(fluxes[i]))
        end
    end
    return
end

"Storage at the end of interval k, or at the start for k = 0."
@inline write_storage!(g::Group, r::Results, K, k, storage::SVector{N}) where {N} =
    r.only == 0 && write_rows!(g, r.storage, N * (K + 1), k * N, storage)

"Rates, fluxes and Jacobian."
@inline function linearised(m::SmallModel{N}, u::SVector{N,L}, w, p, terms) where {N,L}
    if m.linearise !== nothing
        changes, fluxes, J, _ = linearise(m, u, w, p, terms)
        return changes, fluxes, J
    end
    m.jacobian === nothing || return both(m, u, w, p)..., m.jacobian(u, w, p)
    changes, fluxes = both(m, seed(u), w, p)
    return map(value_of, changes), map(value_of, fluxes), slopes_of(changes, Val(N), L)
end

@inline value_of(x::Dual) = value(x)
@inline value_of(x) = x
@inline slope_of(x::Dual, j, ::Type{L}) where {L} = partials(x, j)
@inline slope_of(x, j, ::Type{L}) where {L} = zero(L)
@inline slopes_of(x::SVector{M}, ::Val{N}, ::Type{L}) where {M,N,L} =
    SMatrix{M,N,L}(ntuple(k -> slope_of(x[(k-1)%M+1], (k - 1) ÷ M + 1, L), Val(M * N)))

# functions of their own, since a variable that changes would cost an allocation in a closure
@inline pick(m::Union{Mask,Bool}, a::SVector, b::SVector) = map((x, y) -> ifelse(m, x, y), a, b)
@inline pick(m::Mask, a::L, b::L) where {L<:Lanes} = ifelse(m, a, b)
@inline per(x, y) = map(z -> z / y, x)
@inline times_(x, y) = map(z -> z * y, x)
