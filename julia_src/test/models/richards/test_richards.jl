using DiffGeo: Field, Inputs, Linearisation, bind!, column, linearise!, spec, statesize

"Rates, Jacobian and the rest at a state under the forcing of the first interval."
function evaluation(m, forcing, parameters, psi)
    p = [DiffGeo.parameter_array(Float64, x) for x in parameters]
    f = [DiffGeo.forcing_array(Float64, x, 3) for x in forcing]
    start = zeros(1)
    GC.@preserve p f start begin
        inputs = Inputs{Float64}(
            1,
            ones(3),
            Field{Float64}(pointer(start), 0, 0, 0),
            map(DiffGeo.array_field, p),
            map(DiffGeo.array_field, f)
        )
        col = column(m, Float64)
        bind!(col, m, inputs, 1, 1)
        return linearise!(Linearisation(m, Float64), col, m, psi, false)
    end
end

@testset "Jacobian $name $top $bottom $face_mean" for name in keys(SOILS),
    (top, bottom) in (("atmospheric", "free_drainage"),
        ("head", "head"), ("flux", "seepage_face"), ("atmospheric", "flux"), ("surface_layer", "free_drainage")),
    face_mean in keys(DiffGeo.FACE_MEANS)

    m, forcing, parameters, psi = small(name; top, bottom, face_mean, roots="linear")
    x = evaluation(m, forcing, parameters, psi)
    n = length(psi)
    J = [
        i == j ? x.jacobian.main[i] : i == j + 1 ? x.jacobian.lower[i] : j == i + 1 ? x.jacobian.upper[i] : 0.0 for
        i in 1:n, j in 1:n
    ]
    for j in 1:n
        h = 1e-5 * abs(psi[j])
        moved(d) = (q=copy(psi); q[j] += d; evaluation(m, forcing, parameters, q))
        up, down = moved(h), moved(-h)
        scale = maximum(abs, J)
        @test (up.rates - down.rates) / 2h ≈ J[:, j] atol = 1e-6 * scale
        @test (up.storage[j] - down.storage[j]) / 2h ≈ x.capacity[j] rtol = 1e-6
    end
end

@testset "balance $method" for method in sort!(collect(keys(METHODS)))
    m, forcing, parameters, psi = small(; roots="exponential", bottom="seepage_face")
    s = solve(m, forcing, parameters, psi, TIMES; method, rtol=1e-3)
    dz, dt = diff(m.faces), diff(TIMES)
    q = s.fluxes
    gain = vec(q.infiltration - q.evaporation - q.transpiration - q.drainage) .* dt
    change = [sum(dz .* (s.storage[:, k+1, 1] - s.storage[:, k, 1])) for k in 1:3]
    @test isempty(s.failed)
    @test maximum(abs, gain - change) < 1e-13 * sum(abs, gain) * 100
    @test vec(q.infiltration + q.runoff) ≈ forcing.rain rtol = 1e-12
end

@testset "balance of a pond $method" for method in sort!(collect(keys(METHODS)))
    m, forcing, parameters, psi = small(; roots=RootUptake("linear"; demand_dependent=true), top="surface_layer")
    forcing = merge(forcing, (; rain=[20.0, 0.01, 0.2]))
    s = solve(m, forcing, parameters, psi, TIMES; method, rtol=1e-3)
    dz, dt, q = [1; diff(m.faces)], diff(TIMES), s.fluxes
    gain = vec(q.infiltration + q.ponding - q.evaporation - q.transpiration - q.drainage) .* dt
    @test isempty(s.failed)
    @test sum(dz .* (s.storage[:, end, 1] - s.storage[:, 1, 1])) ≈ sum(gain) rtol = 1e-11
    @test vec(q.infiltration + q.runoff + q.ponding) ≈ forcing.rain rtol = 1e-12
    @test all(x -> -1e-3 < x < 0.3 + 1e-3, s.states[1, :, 1]) && q.runoff[1] > 1
    deep = solve(
        m,
        merge(forcing, (; rain=zeros(3))),
        merge(parameters, (; ponding_height=0.1)),
        [2.0; psi[2:end]],
        TIMES;
        method,
        rtol=1e-3
    )
    @test deep.fluxes.runoff[1] * dt[1] > 1 && deep.states[1, 1, 1] < 0.103  # without rain
end

@testset "steady flow in Gardner's soil" begin
    # constant flux q through the column to a water table: K(psi) = q + (K_s - q) exp(alpha z'), z' height above the table
    alpha, K_s, q, depth = 0.05, 1.0, 0.2, 100.0
    error_of(cells) = begin
        m = Richards(range(0, depth; length=cells + 1); hydraulics=Gardner(), top="flux", bottom="head")
        s = solve(m, (top_flux=q, bottom_head=0.0), (; theta_r=0.05, theta_s=0.45, alpha, K_s, specific_storage=0.0), -50.0,
            [0.0, 5000.0];
            rtol=1e-6)
        z = depth .- (collect(1:cells) .- 0.5) .* (depth / cells)
        exact = log.((q .+ (K_s - q) .* exp.(-alpha .* z)) ./ K_s) ./ alpha
        maximum(abs, s.states[:, end, 1] - exact)
    end
    coarse, fine = error_of(50), error_of(100)
    @test fine < 0.02 && 3.5 < coarse / fine < 4.5
end

@testset "unknown names" begin
    m, forcing, parameters, psi = small()
    @test_throws UnknownName solve(m, forcing, parameters, psi, TIMES; method="kvaerno4")
    @test_throws UnknownName solve(m, merge(forcing, (snow=1.0,)), parameters, psi, TIMES)
    @test_throws Refused solve(m, (rain=1.0,), parameters, psi, TIMES)
    @test_throws UnknownName Richards([0.0, 1.0, 2.0]; top="heads")
end

@testset "a layer without a cell" begin
    @test_throws Refused Richards([0.0, 1.0, 2.0]; layers=[0.0, 5.0])
end
