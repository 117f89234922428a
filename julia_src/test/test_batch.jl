rng = Xoshiro(5)

@testset "a column in a batch is the column alone, on any number of threads" begin
    m, forcing, parameters, psi = small()
    K = exp.(randn(rng, 2, 20))
    batch(threads) = solve(m, forcing, merge(parameters, (K_s=K,)), psi, TIMES; threads)
    all_, one_ = batch(0), batch(1)
    @test all_.states == one_.states
    for c in (1, 7, 20)
        alone = solve(m, forcing, merge(parameters, (K_s=K[:, c:c],)), psi, TIMES)
        @test alone.states[:, :, 1] == all_.states[:, :, c]
    end
    w = randn(rng, size(all_.states))
    g, h = pullback(all_; states=w), pullback(one_; states=w)
    @test g.parameters.K_s == h.parameters.K_s && g.forcing.rain == h.forcing.rain
end

@testset "a failed column is reported, and the others finish" begin
    m, forcing, parameters, psi = small(; layers=false)
    K = [1.0, NaN, 2.0]
    s = solve(m, forcing, merge(parameters, (K_s=K,)), psi, TIMES; max_steps=200)
    @test collect(keys(s.failed)) == [2]
    @test all(isnan, s.states[:, :, 2]) && all(isfinite, s.states[:, :, [1, 3]])
    few = solve(m, forcing, parameters, psi, TIMES; max_steps=3)
    @test few.failed[1][1] == DiffGeo.TOO_MANY
end

@testset "a solve allocates nothing per step" begin
    m, forcing, parameters, psi = small()
    steps(rtol) = (
        solve(m, forcing, parameters, psi, TIMES; rtol, threads=1);
        s=solve(m, forcing, parameters, psi, TIMES; rtol, threads=1);
        sum(s.counts[1:2])
    )
    memory(rtol) = (
        solve(m, forcing, parameters, psi, TIMES; rtol, threads=1);
        @allocated solve(m, forcing, parameters, psi, TIMES; rtol, threads=1)
    )
    few, many = 1e-2, 1e-7
    # states of the stages and steps are recorded; nothing else grows
    recorded = 3 * 6 * 8 + 30
    @test memory(many) - memory(few) < 3 * recorded * (steps(many) - steps(few)) + 50_000
end

@testset "float32" begin
    m, forcing, parameters, psi = small()
    x, y = solve(m, forcing, parameters, psi, TIMES; T=Float32, rtol=1e-2), solve(m, forcing, parameters, psi, TIMES; rtol=1e-2)
    @test eltype(x.states) == Float32 && isapprox(x.states, y.states; rtol=2e-3)
end

@testset "no thread still works when a batch is given up" begin
    # on the calling thread, and on another where there is one
    for workers in unique((1, Threads.nthreads())), bad in (1, 2)
        working = Threads.Atomic{Int}(0)
        failing(number, c, stopping) = begin
            Threads.atomic_add!(working, 1)
            try
                c == bad && throw(DiffGeo.Refused("column $c"))
                for _ in 1:200
                    stopping() && break
                    Libc.systemsleep(1e-3)
                end
            finally
                Threads.atomic_sub!(working, 1)
            end
        end
        @test_throws DiffGeo.Refused DiffGeo.each_column(failing, 4, workers, DiffGeo.Stop())
        @test working[] == 0
    end
end
